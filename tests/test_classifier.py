from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import save_file

from raremix.classifier.augment import Radiographic, augment, randaugment
from raremix.classifier.model import build, from_backbone, normalised
from raremix.classifier.predict import predict_run, probability, save_run
from raremix.classifier.recipe import RECIPES, Recipe, recipe
from raremix.classifier.train import EVERYONES, Examples, train
from raremix.data.views import Views, affine
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import sent
from raremix.runtime.errors import UserError
from stages.sections import ARMS

NET = "mobilenet_v3_small"


def examples(count=12, size=32):
    """Bright images carry the first finding, dark ones the second."""
    bright = np.arange(count) % 2
    images = np.clip(tiny.images(count, size) * 0.2 + bright[:, None, None] * 180, 0, 255).astype(np.uint8)
    return Examples(images, np.stack([bright, 1 - bright], 1).astype(np.float32), np.ones(count))


def fit(name, training=tiny.CLASSIFIER, data=None, recipe=EVERYONES):
    return train(build(NET, 2), data or examples(), training, "0", Checkpoint(name), recipe)


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_classifier_learns_an_easy_task():
    longer = replace(tiny.CLASSIFIER, steps=60, batch=8, lr=3e-3, ema_decay=0.8)
    _, losses = fit("easy", longer)
    assert np.mean(losses[-5:]) < 0.4 * np.mean(losses[:3])


def test_training_again_gives_the_same_weights():
    assert same(fit("a")[0], fit("b")[0])


def test_killed_and_resumed_ends_with_the_same_weights(killed_after):
    whole, losses = fit("whole")
    with killed_after(2), pytest.raises(KeyboardInterrupt):
        fit("killed")
    resumed, again = fit("killed")
    assert again == losses
    assert same(whole, resumed)


@pytest.mark.parametrize(
    "recipe", [Recipe(late=0.5), Recipe(late=0.5, head_only=True), Recipe("ldam_drw", 0.5, anew=False)]
)
def test_killed_in_either_phase_and_resumed_ends_with_the_same_weights(recipe, killed_after):
    data = replace(examples(), late=np.arange(12.0))
    whole, losses = fit("whole", data=data, recipe=recipe)
    for step in (1, 2, 3):
        with killed_after(step), pytest.raises(KeyboardInterrupt):
            fit(f"killed {step}", data=data, recipe=recipe)
        resumed, again = fit(f"killed {step}", data=data, recipe=recipe)
        assert again == losses
        assert same(whole, resumed)


def test_the_late_phase_draws_by_its_own_weights(monkeypatch):
    drawn, multinomial = [], torch.multinomial
    monkeypatch.setattr(
        torch, "multinomial", lambda *given, **named: drawn.append(multinomial(*given, **named)) or drawn[-1]
    )
    early, late = np.where(np.arange(12) < 6, 1.0, 0.0), np.where(np.arange(12) < 6, 0.0, 1.0)
    longer = replace(tiny.CLASSIFIER, steps=10)
    fit("late", longer, replace(examples(), weights=early, late=late), Recipe(late=0.3))
    assert [bool((chosen >= 6).all()) for chosen in drawn] == [False] * 7 + [True] * 3
    assert all((chosen < 6).all() for chosen in drawn[:7])


def test_a_head_that_is_trained_late_stands_on_features_that_no_longer_move():
    def features(model):
        return {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.3")}

    longer = replace(tiny.CLASSIFIER, steps=8, ema_decay=0.0)
    short = replace(tiny.CLASSIFIER, steps=4, ema_decay=0.0)
    first, _ = fit("first", short)
    both, _ = fit("both", longer, recipe=Recipe(late=0.5, head_only=True))
    assert all(torch.equal(one, features(both)[name]) for name, one in features(first).items())
    assert not torch.equal(first.classifier[-1].weight, both.classifier[-1].weight)


def test_the_average_of_a_late_phase_forgets_as_fast_as_the_phase_is_short():
    def averaged(decay):
        training = replace(tiny.CLASSIFIER, steps=8, ema_decay=decay)
        return fit(f"decay {decay}", training, recipe=Recipe(late=0.25))[0].state_dict()["classifier.3.weight"]

    first, last = averaged(1.0), averaged(0.0)  # of the phase's two steps
    assert not torch.allclose(first, last)
    assert torch.allclose(averaged(0.5), 0.5**4 * first + (1 - 0.5**4) * last, atol=1e-7)


def test_a_late_phase_begins_anew_unless_it_says_otherwise(monkeypatch):
    def rates(recipe):
        seen = []
        step = torch.optim.AdamW.step

        def keep(self, *given):
            seen.append(self.param_groups[0]["lr"])
            return step(self, *given)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", keep)
            fit("rates", replace(tiny.CLASSIFIER, steps=10), recipe=recipe)
        return seen

    whole = rates(EVERYONES)
    assert rates(Recipe(late=0.5, anew=False)) == whole
    assert whole[1:] == sorted(whole[1:], reverse=True), "after the step of warming up"
    again = rates(Recipe(late=0.5))
    assert again[:5] == again[5:]


def test_an_average_that_does_not_begin_anew_is_that_of_all_steps():
    training = replace(tiny.CLASSIFIER, steps=8, ema_decay=0.5)
    one, other, anew = (
        fit(name, training, recipe=recipe)[0]
        for name, recipe in (("one", EVERYONES), ("other", Recipe(late=0.5, anew=False)), ("anew", Recipe(late=0.5)))
    )
    assert same(one, other)
    assert not same(one, anew)


def test_a_batch_is_sent_as_it_is_kept_and_augmented_where_the_network_is(monkeypatch):
    def keep(tensor, where):
        moved.append((tensor.dtype, tuple(tensor.shape)))
        return sent(tensor, where)

    moved = []
    monkeypatch.setattr("raremix.classifier.train.sent", keep)
    fit("sent", replace(tiny.CLASSIFIER, steps=1))
    assert moved == [(torch.uint8, (4, 1, 32, 32)), (torch.float32, (4, 2))]


def test_every_recipe_is_of_an_arm():
    assert set(RECIPES) <= set(ARMS)
    assert recipe("vanilla") == Recipe()


def test_randaugment_keeps_radiographs_radiographs():
    image = torch.rand(6, 1, 32, 32)
    torch.manual_seed(0)
    one = randaugment(image)
    torch.manual_seed(0)
    assert torch.equal(one, randaugment(image))
    assert not torch.equal(one, randaugment(image))
    assert one.shape == image.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert not {"Solarize", "Posterize", "Color"} & set(Radiographic._AUGMENTATION_SPACE)
    assert {"Rotate", "Contrast", "Equalize"} <= set(Radiographic._AUGMENTATION_SPACE)


def test_images_of_no_weight_are_never_drawn():
    data = examples()
    weights = np.where(np.arange(12) < 6, 1.0, 0.0)
    altered = Examples(data.images.copy(), data.labels.copy(), weights)
    altered.images[6:], altered.labels[6:] = 255 - altered.images[6:], 1 - altered.labels[6:]
    assert fit("as they are", data=replace(data, weights=weights))[1] == fit("altered", data=altered)[1]


def test_unknown_labels_leave_the_losses_finite():
    data = examples()
    data.labels[6:, 1] = np.nan
    assert np.isfinite(fit("unknown", data=data)[1]).all()


def test_a_backbone_gives_every_layer_but_the_last(tmp_path):
    backbone = build(NET, 7)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01)
    save_file({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}, tmp_path / "b.safetensors")
    one = from_backbone(NET, 2, tmp_path / "b.safetensors", 0)
    other = from_backbone(NET, 2, tmp_path / "b.safetensors", 1)
    assert torch.equal(one.features[0][0].weight, backbone.features[0][0].weight)
    assert one.classifier[-1].weight.shape[0] == 2
    assert not torch.equal(one.classifier[-1].weight, other.classifier[-1].weight)
    with pytest.raises(UserError, match="another network"):
        from_backbone("resnet18", 2, tmp_path / "b.safetensors", 0)


def test_an_unknown_network_is_named():
    with pytest.raises(UserError, match="no classifier 'resnet19'"):
        build("resnet19", 2)


def test_no_view_is_a_flip_and_no_change_is_the_same_image():
    image = torch.rand(8, 1, 16, 16)
    still = affine(image, Views(0.0, 0.0, 0.0), torch.Generator().manual_seed(0))
    assert torch.allclose(still, image, atol=1e-5)
    left = torch.zeros(200, 1, 16, 16)
    left[:, :, :, :4] = 1
    seen = affine(left, Views(10.0, 0.1, 0.1), torch.Generator().manual_seed(0))
    assert (seen[..., :8].sum((1, 2, 3)) > seen[..., 8:].sum((1, 2, 3))).all()


def test_augmentation_stays_in_range_and_depends_on_its_generator():
    image = torch.rand(4, 1, 16, 16)
    one = augment(image, tiny.CLASSIFIER.augmentation, torch.Generator().manual_seed(1))
    same_again = augment(image, tiny.CLASSIFIER.augmentation, torch.Generator().manual_seed(1))
    other = augment(image, tiny.CLASSIFIER.augmentation, torch.Generator().manual_seed(2))
    assert torch.equal(one, same_again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_networks_see_three_equal_channels():
    seen = normalised(torch.rand(2, 1, 8, 8))
    assert seen.shape == (2, 3, 8, 8)
    assert torch.equal(seen[:, 0], seen[:, 2])


def test_predictions_are_those_of_the_saved_model(tmp_path):
    model, _ = fit("saved")
    save_run(tmp_path / "run", model, NET, ["cardiomegaly", "pneumothorax"], "float32")
    pixels = examples().images
    rows = pd.DataFrame({"image_id": [f"i{index}" for index in range(12)]})
    rows[["cardiomegaly", "pneumothorax"]] = examples().labels.astype(int)
    predictions = predict_run(tmp_path / "run", rows, pixels, "test")
    assert list(predictions.columns) == ["image_id", "part", "finding", "label", "probability"]
    wide = predictions.pivot_table("probability", "image_id", "finding", sort=False).to_numpy()
    assert wide == pytest.approx(probability(model, pixels, "float32"), abs=1e-5)
    assert (predictions["label"].to_numpy().reshape(12, 2) == examples().labels).all()
