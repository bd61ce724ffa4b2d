"""The implicit function on a tiny pipeline: it learns to do what it is asked, the same way twice."""

import numpy as np
import pytest
import torch

from raremix.data.captions import CLASS_PROMPT
from raremix.diagnosis.hspace import capture, drawn
from raremix.diagnosis.implicit import Implicit, ImplicitTraining, edit, load, save, train
from raremix.diagnosis.process import course, walk, words
from raremix.diagnosis.readers import LatentReader
from raremix.diagnosis.stored import read as read_latents
from raremix.generator.base import load as load_pipeline
from raremix.generator.sample import Sampling, plain
from raremix.runtime.errors import UserError

TRAINING = ImplicitTraining(60, 8, 0.005, 8, target=4.0, keep=0.0, precision="float32")
SAMPLING = Sampling(4, 1.0, 4, "float32")
NOISE = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0))
PROMPT = plain([CLASS_PROMPT] * 6, range(6))


@pytest.fixture(scope="module")
def pipeline(base):
    return load_pipeline(base)


@pytest.fixture(scope="module")
def reader():
    """It reads the mean of each half of the first channel."""

    class Halves(LatentReader):
        def forward(self, latents):
            return torch.stack([latents[:, 0, :2].mean((1, 2)), latents[:, 0, 2:].mean((1, 2))], 1)

    return Halves(4, 8, 2)


@pytest.fixture(scope="module")
def taught(pipeline, reader, tmp_path_factory):
    """Call it with changes of ``TRAINING``."""
    folder = tmp_path_factory.mktemp("latents")
    capture(pipeline, NOISE, PROMPT, SAMPLING, folder)
    text = words(pipeline, PROMPT[:1], 1.0, "float32")
    way = course(pipeline, SAMPLING.steps)
    asked = np.array([0.05, 0.1], np.float32)

    def training(**changes):
        options = ImplicitTraining(**{**vars(TRAINING), **changes})
        return train(pipeline.unet, read_latents(folder), np.arange(len(NOISE)), text, way, reader, asked, options)

    return training


@pytest.fixture(scope="module")
def learned(taught):
    return taught()


def test_it_begins_with_no_edit_and_misses_less_and_less(learned):
    _, examples = learned
    assert len(examples) == TRAINING.steps * TRAINING.batch
    first, last = examples.head(TRAINING.batch), examples.tail(20 * TRAINING.batch)
    np.testing.assert_allclose(first["missed"], first["asked"], rtol=1e-4)
    assert last["missed"].mean() < 0.7 * last["asked"].mean()
    assert set(examples["step"]) == {0, 1, 2}, "the last step is left out"
    assert set(examples["attribute"]) == {0, 1}
    assert examples["asked"].max() <= 1.5**2


def test_it_moves_its_target_and_with_the_sign_of_the_dose(pipeline, reader, learned):
    function, _ = learned

    text, way = words(pipeline, PROMPT, 1.0, "float32"), course(pipeline, SAMPLING.steps)

    def reached(k, dose):
        with torch.no_grad():
            clean = walk(pipeline.unet, NOISE, text, way, "float32", edit(function, k, dose, range(3)))
        return reader(clean).mean(0).numpy()

    for k in (0, 1):
        assert reached(k, 1.0)[k] > reached(k, 0.0)[k] > reached(k, -1.0)[k]


def test_learning_again_gives_the_same_bits_and_leaves_the_unet_as_it_was(pipeline, taught, learned):
    before = {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}
    (first, examples), (second, again) = learned, taught()
    assert examples.equals(again)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipeline.unet.state_dict().items())


def test_what_shall_be_kept_is_changed_less(taught):
    free, kept = (taught(keep=keep)[0] for keep in (0.0, 1000.0))
    h = torch.randn(3, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    assert kept(h, 1).norm() < 0.8 * free(h, 1).norm()


def test_an_untrained_function_edits_nothing_at_any_dose(pipeline):
    function = Implicit(16, SAMPLING.steps, 2, 8)
    plain_images = drawn(pipeline, NOISE, PROMPT, SAMPLING)
    assert (drawn(pipeline, NOISE, PROMPT, SAMPLING, edit(function, 1, 3.0, range(4))) == plain_images).all()


def test_an_edit_is_as_large_as_its_dose_and_of_its_steps_alone(learned):
    function, _ = learned
    asked = edit(function, 1, -2.0, range(1, 3))
    h = torch.randn(3, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    assert list(asked.shifts) == [1, 2]
    torch.testing.assert_close(asked.shifts[2](h), -2 * function(h, 2)[:, 1])
    assert function(h, 2).shape == (3, 2, 16, 2, 2)


def test_it_comes_back_from_disk(learned, tmp_path):
    function, _ = learned
    save(tmp_path / "deep" / "implicit.safetensors", function)
    again = load(tmp_path / "deep" / "implicit.safetensors")
    h = torch.randn(3, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(h, 1), function(h, 1))
    assert not any(part.requires_grad for part in again.parameters())
    with pytest.raises(UserError, match=r"none\.safetensors: no implicit function; run `dvc repro implicit`"):
        load(tmp_path / "none.safetensors")


def test_a_width_that_can_not_be_is_named(taught):
    with pytest.raises(UserError, match=r"params\.yaml, implicit\.width: 12 is no multiple of 8"):
        taught(width=12)
