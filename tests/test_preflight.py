import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from test_check import FILE, ROOT, STAGES, params
from tiny import SIZE

from raremix.classifier import published
from raremix.generator import preflight
from raremix.generator.base import load
from raremix.generator.preflight import Use, announced, check, found
from raremix.runtime.errors import UserError
from stages.check import check as check_params
from stages.check import check_weights

USE = Use(SIZE, lora=False, text_encoder=False, averaged=False, mixed=False, kept=8, copies=0)
SOURCE, REVISION = "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b"


@pytest.fixture
def folder(base, tmp_path):
    """A small pipeline as one would download it."""
    shutil.copytree(base, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n# A card\n")
    return tmp_path / "model"


def numbers(pipeline, *names):
    return sum(parameter.numel() for name in names for parameter in getattr(pipeline, name).parameters())


@pytest.mark.parametrize(
    ("changes", "learned", "copies"),
    [
        ({}, ["unet"], []),
        ({"text_encoder": True}, ["unet", "text_encoder"], []),
        ({"lora": True}, [], []),
        ({"mixed": True}, ["unet"], ["unet"]),
        ({"mixed": True, "text_encoder": True}, ["unet", "text_encoder"], ["unet", "text_encoder"]),
        ({"kept": 3}, ["unet"], []),
    ],
)
def test_memory_is_that_of_base_and_copy_gradients_and_moments(folder, monkeypatch, changes, learned, copies):
    pipeline = load(folder)
    whole = 4 * numbers(pipeline, "unet", "vae", "text_encoder")
    each = 4 + changes.get("kept", 8)
    needed = 2 * whole + each * numbers(pipeline, *learned) + 2 * numbers(pipeline, *copies)
    monkeypatch.setattr(preflight, "_free", lambda: needed)
    told = check(folder, replace(USE, **changes))
    assert told.startswith(f"{folder}: {whole / 4e6:.0f} million parameters, ")
    assert told.endswith("licence: creativeml-openrail-m")
    monkeypatch.setattr(preflight, "_free", lambda: needed - 1)
    with pytest.raises(UserError, match=r"^params.yaml, base.pretrained: to fine-tune it takes .* the cpu has .* free"):
        check(folder, replace(USE, **changes))


def test_where_there_is_a_gpu_it_holds_what_steps_need(monkeypatch):
    count, needed = {"unet": 5, "vae": 2, "text_encoder": 3}, []
    for kind in ("cpu", "cuda"):
        monkeypatch.setattr(preflight, "device", lambda kind=kind: torch.device(kind))
        needed.append(preflight._needed(count, USE))
    assert needed[0] - needed[1] == 4 * (10 + 2 + 3)
    assert preflight._needed(count, replace(USE, lora=True)) == 4 * 10, "all networks, when samples are drawn"


def test_averages_are_weights_once_more(folder, monkeypatch):
    more = []
    for averaged in (False, True):
        monkeypatch.setattr(preflight, "_free", lambda: 10**12)
        count = {part: preflight._parameters(folder / part) for part in preflight.NETWORKS}
        more.append(preflight._needed(count, replace(USE, averaged=averaged)))
    assert more[1] - more[0] == 4 * numbers(load(folder), "unet")


def test_another_variant_of_the_weights_is_not_counted_twice(folder):
    count = preflight._parameters(folder / "unet")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(file, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert preflight._parameters(folder / "unet") == count == numbers(load(folder), "unet")


def test_a_model_of_another_size_is_named(folder):
    with pytest.raises(UserError, match=rf"^params.yaml, ingest.size: 512 pixels, but {folder} draws {SIZE}; set it"):
        check(folder, replace(USE, size=512))


@pytest.mark.parametrize("part", ["unet", "tokenizer"])
def test_a_missing_part_is_named(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=rf"{folder} has no {part}/, so it is no Stable Diffusion; get it again"):
        check(folder, USE)


def test_weights_that_are_cut_off_are_named(folder):
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=rf"^params.yaml, base.pretrained: {file} is not whole; get it again"):
        check(folder, USE)


def test_weights_in_another_form_are_none(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(UserError, match=r"unet holds no weights as safetensors; get those files, too"):
        check(folder, USE)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "can't be read"), ("[]", "can't"), ('{"sample_size": [4, 4]}', "is \\[")]
)
def test_a_broken_config_is_named(folder, text, said):
    (folder / "unet" / "config.json").write_text(text)
    with pytest.raises(UserError, match=rf"^params.yaml, base.pretrained: {folder}/unet/config.json.* {said}"):
        check(folder, USE)


def test_no_card_no_licence(folder):
    (folder / "README.md").unlink()
    assert check(folder, USE).endswith("licence: see its own card")


def test_a_local_folder_needs_no_revision(folder):
    assert found(str(folder), None) == folder


def test_a_repository_needs_a_revision():
    with pytest.raises(UserError, match=r"^params.yaml, base.revision: pin the revision of 'CompVis/stable-diffusion"):
        found(SOURCE, None)


class Hub:
    """The hub, which knows of nothing but ``known``."""

    def __init__(self, *known):
        self.known = known

    def __call__(self):
        return self

    def repo_info(self, source, revision, timeout):
        if source not in self.known:
            raise OSError("no way there\nat all")


class Holding(Hub):
    """The hub with the files of a ``folder`` in its only repository."""

    def __init__(self, folder):
        super().__init__(SOURCE)
        self.folder = folder

    def list_repo_files(self, source, revision):
        return [file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file()]

    def parse_safetensors_file_metadata(self, source, name, revision):
        with safe_open(self.folder / name, "pt") as tensors:
            counts = [math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys()]  # noqa: SIM118
        return SimpleNamespace(parameter_count={"F32": sum(counts)})


def test_what_is_neither_cached_nor_reached_is_named_in_one_line(monkeypatch):
    monkeypatch.setattr(preflight, "snapshot_download", not_cached)
    monkeypatch.setattr(preflight, "HfApi", Hub())
    with pytest.raises(
        UserError, match=r"^params.yaml, base.pretrained: 'CompVis/stable-.* is not in the hub's cache,"
    ):
        found(SOURCE, REVISION)
    monkeypatch.setattr(preflight, "HfApi", Hub(SOURCE))
    assert found(SOURCE, REVISION) is None


def test_what_will_be_downloaded_tells_its_licence_first(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(preflight, "snapshot_download", not_cached)
    monkeypatch.setattr(preflight, "HfApi", Holding(folder))
    asked = []

    def card(source, name, revision):
        asked.append((source, name, revision))
        return folder / name

    values = check_params(params(base__pretrained=SOURCE, base__revision=REVISION, ingest__size=SIZE), STAGES, FILE)
    monkeypatch.setattr(preflight, "hf_hub_download", card)
    told = check_weights(values)
    million = numbers(load(folder), *preflight.NETWORKS) / 1e6
    assert told.startswith(f"{SOURCE} at {REVISION} will be downloaded: {million:.0f} million parameters, ")
    assert told.endswith("GB free on disk for models; licence: creativeml-openrail-m\n")
    small = ["unet/config.json", "vae/config.json", "README.md"]
    assert asked == [(SOURCE, name, REVISION) for name in small], "no weights"
    monkeypatch.setattr(preflight, "hf_hub_download", not_cached)
    with pytest.raises(UserError, match="the hub does not tell what"):
        check_weights(values)


def test_what_would_not_fit_is_not_downloaded(folder, monkeypatch):
    monkeypatch.setattr(preflight, "HfApi", Holding(folder))
    monkeypatch.setattr(preflight, "hf_hub_download", lambda source, name, revision: folder / name)
    count = {part: preflight._parameters(folder / part) for part in preflight.NETWORKS}
    monkeypatch.setattr(preflight, "_free", lambda: preflight._needed(count, USE))
    assert "million parameters" in announced(SOURCE, REVISION, USE)
    monkeypatch.setattr(preflight, "_free", lambda: preflight._needed(count, USE) - 1)
    with pytest.raises(UserError, match=r"^params.yaml, base.pretrained: to fine-tune it takes .*: adafactor"):
        announced(SOURCE, REVISION, USE)
    with pytest.raises(UserError, match=r"^params.yaml, ingest.size: 512 pixels, but .* draws"):
        announced(SOURCE, REVISION, replace(USE, size=512))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^params.yaml, base.pretrained: 'CompVis/.*' at 133a221b8aa7 holds no vae as"):
        announced(SOURCE, REVISION, USE)
    monkeypatch.setattr(preflight, "HfApi", Hub(SOURCE))
    monkeypatch.setattr(Hub, "list_repo_files", not_reached, raising=False)
    with pytest.raises(UserError, match=r"^params.yaml, base.pretrained: the hub does not tell what .* \(no network\)"):
        announced(SOURCE, REVISION, USE)


def not_cached(*_, **__):
    raise LocalEntryNotFoundError("not here")


def test_what_is_cached_is_found_without_a_network(folder, monkeypatch):
    monkeypatch.setattr(preflight, "snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr(preflight, "HfApi", Hub())
    assert found(SOURCE, REVISION) == folder


def cached(base, hub, *left_out):
    """A cache as diffusers fills it: of all that the repository lists, without what it has no use for."""
    home = hub / "models--CompVis--stable-diffusion-v1-4"
    snapshot = home / "snapshots" / REVISION
    shutil.copytree(base, snapshot)
    for part in left_out:
        shutil.rmtree(snapshot / part)
    (snapshot / "README.md").unlink(missing_ok=True)
    names = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    listed = [*names, "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "README.md"]
    (home / "trees").mkdir()
    tree = {"format_version": 1, "files": {name: {"size": 1, "blob_id": name} for name in listed}}
    (home / "trees" / f"{REVISION}.json").write_text(json.dumps(tree))
    return snapshot


def test_a_cache_without_other_forms_of_the_weights_is_enough(base, tmp_path, monkeypatch):
    snapshot = cached(base, tmp_path)
    real = preflight.snapshot_download
    monkeypatch.setattr(preflight, "snapshot_download", lambda *where, **how: real(*where, cache_dir=tmp_path, **how))
    monkeypatch.setattr(preflight, "HfApi", Hub())
    assert found(SOURCE, REVISION) == snapshot
    shutil.rmtree(snapshot / "unet")
    with pytest.raises(UserError, match=r"is not in the hub's cache"):
        found(SOURCE, REVISION)


def test_imagenet_weights_in_the_cache_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(published, "urlopen", not_reached)
    with pytest.raises(UserError, match=r"^params.yaml, backbone.start: ImageNet weights of resnet50 are not in torch"):
        published.check_imagenet("resnet50")
    name = Path(published.get_model_weights("resnet50").DEFAULT.url).name
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    assert published.check_imagenet("resnet50") is None
    with pytest.raises(UserError, match=r"^params.yaml, backbone.model: torchvision has no classifier 'resnet19'"):
        published.check_imagenet("resnet19")


def not_reached(*_, **__):
    raise OSError("no network")


def test_the_study_s_own_models_are_not_looked_for(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert check_weights(check_params(params(), STAGES, FILE)) == ""


def test_a_study_with_published_weights_is_told_of_them(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = check_params(params(base__pretrained=str(folder), ingest__size=SIZE), STAGES, FILE)
    told = check_weights(values)
    assert told.count("\n") == 1
    assert "licence: creativeml-openrail-m" in told
    unet = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(unet | {"sample_size": 64}))
    with pytest.raises(UserError, match=r"^params.yaml, ingest.size: "):
        check_weights(values)
