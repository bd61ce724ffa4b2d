"""Weights on disk: what is cut short is one clear line, and nothing on disk can run code."""

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torchvision
from hypothesis import given, settings
from safetensors import SafetensorError
from safetensors.torch import save_file
from test_readers_survive import FLIPS

from raremix.classifier.model import build, from_backbone, imagenet
from raremix.classifier.predict import load_network, save_run
from raremix.diagnosis import clip, implicit, readers, stored
from raremix.generator import tuned
from raremix.generator.base import load, published
from raremix.runtime import weights
from raremix.runtime.errors import UserError, no_memory

ROOT = Path(__file__).parents[1]
NET, TOKEN = "mobilenet_v3_small", "<nodule_mass>"
UNITS = readers.Units(["male"], [0.5], [0.5], [0.0], [1.0])


@pytest.fixture
def disk(tmp_path, base):
    """One of everything that the study reads weights from, in a folder."""
    weights.write(tmp_path / "backbone.safetensors", build(NET, 3).state_dict())
    save_run(tmp_path / "run", build(NET, 2), NET, ["a", "b"], "float32")
    implicit.save(tmp_path / "f.safetensors", implicit.Implicit(8, 3, 2, 8))
    picture = readers.PictureReader(build(NET, 1))
    readers.save(tmp_path / "readers", picture, readers.LatentReader(4, 8, 1), UNITS, NET)
    (tmp_path / "latents").mkdir()
    for name in stored.FILES:
        np.save(tmp_path / "latents" / name, np.zeros((9, 2, 4, 8), np.float16))
    parts = {name: np.zeros((2, 1, 16)) for name in stored.DIRECTIONS}
    stored.write_directions(tmp_path / "h.safetensors", parts, (1, 4, 4))
    shutil.copytree(base, tmp_path / "base")
    tiny.save_clip(tmp_path / "clip", ["pacemaker"])
    tuned.save(tuned.prepare(load(base), TOKEN, None, 2), tmp_path / "lora", TOKEN, 2)
    return tmp_path


READERS = {
    "backbone.safetensors": lambda at: from_backbone(NET, 2, at / "backbone.safetensors"),
    "run/model.safetensors": lambda at: load_network(at / "run"),
    "run/config.json": lambda at: load_network(at / "run"),
    "f.safetensors": lambda at: implicit.load(at / "f.safetensors"),
    "readers/picture.safetensors": lambda at: readers.load_picture(at / "readers"),
    "readers/latent.safetensors": lambda at: readers.load_latent(at / "readers"),
    "readers/config.json": lambda at: readers.load_latent(at / "readers"),
    "latents/h.npy": lambda at: stored.read(at / "latents"),
    "latents/e.npy": lambda at: stored.read(at / "latents"),
    "h.safetensors": lambda at: stored.read_directions(at / "h.safetensors"),
    "base/unet/diffusion_pytorch_model.safetensors": lambda at: load(at / "base"),
    "base/vae/diffusion_pytorch_model.safetensors": lambda at: published(str(at / "base"), None),
    "base/text_encoder/model.safetensors": lambda at: load(at / "base"),
    f"lora/{tuned.LORA}": lambda at: tuned.load_tuned(at / "base", at / "lora", TOKEN),
    f"lora/{tuned.EMBEDDING}": lambda at: tuned.load_tuned(at / "base", at / "lora", TOKEN),
    "clip/model.safetensors": lambda at: clip.load(at / "clip"),
}
PICKLED = {
    "base/unet/diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "base/text_encoder/model.safetensors": "pytorch_model.bin",
    "clip/model.safetensors": "pytorch_model.bin",
}


def refused(read, at) -> str:
    with pytest.raises(UserError) as caught:
        read(at)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_cut_short_is_one_line_that_names_it(disk, name, capfd):
    READERS[name](disk)
    capfd.readouterr()
    file = disk / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert str(file) in refused(READERS[name], disk)
    assert capfd.readouterr().err == "", "no lines of a library's beside it"


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".safetensors")])
def test_a_file_longer_or_shorter_than_its_header_says_is_one_line_that_names_it(disk, name):
    file, content = disk / name, (disk / name).read_bytes()
    for changed in (content + b"\0", content[:-1]):
        file.write_bytes(changed)
        assert str(file) in refused(READERS[name], disk)


NETWORKS = [name for name in READERS if name.endswith(".safetensors") and name != "h.safetensors"]


def rewritten(file, change):
    """``file`` with its tensors as ``change`` leaves them; whole, as far as a header tells."""
    tensors = weights.read(file, "")
    change(tensors, max(tensors, key=lambda name: (tensors[name].ndim, name)))
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_that_lacks_a_tensor_is_refused_in_one_line(disk, name, capfd):
    """diffusers and transformers would draw it at random, and warn at most."""
    rewritten(disk / name, lambda tensors, one: tensors.pop(one))
    capfd.readouterr()
    assert str(disk / Path(name).parts[0]) in refused(READERS[name], disk)
    assert capfd.readouterr().err == "", "no lines of a library's beside it"


def test_a_lora_of_another_layer_is_refused(disk):
    """diffusers would leave the layer as it was."""
    file = disk / "lora" / tuned.LORA
    tensors = {name.replace("attn1.to_q", "attn9.to_q"): tensor for name, tensor in weights.read(file, "").items()}
    save_file(tensors, file, metadata={"format": "pt"})
    said = refused(READERS[f"lora/{tuned.LORA}"], disk)
    assert said.startswith(f"{file}: not the two matrices of each layer, first of ")


@pytest.mark.parametrize(
    "words",
    [
        "Cannot allocate memory (os error 12)",
        "[enforce fail] can't allocate memory: you",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_lack_of_memory_is_no_broken_file(disk, monkeypatch, words):
    def refuses(_):
        raise SafetensorError(words)

    monkeypatch.setattr(weights, "load_file", refuses)
    with pytest.raises(SafetensorError) as caught:
        weights.read(disk / "backbone.safetensors", "get it again")
    assert no_memory(caught.value)


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.startswith("lora")])
def test_a_file_with_a_tensor_of_another_shape_is_refused_in_one_line(disk, name, capfd):
    rewritten(disk / name, lambda tensors, one: tensors.update({one: torch.cat([tensors[one]] * 2)}))
    capfd.readouterr()
    assert str(disk / Path(name).parts[0]) in refused(READERS[name], disk)
    assert capfd.readouterr().err == ""


def test_imagenet_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(
        torchvision.models._api, "load_state_dict_from_url", lambda url, **_: build("resnet18", 1000).state_dict()
    )
    said = refused(lambda at: imagenet(NET, 2), tmp_path)
    assert said.startswith(f"params.yaml, backbone.start: ImageNet's {NET}: the weights of another network (")


def tensors_or_line(file) -> dict[str, torch.Tensor] | str:
    try:
        return weights.read(file, "get it again")
    except UserError as error:
        return str(error)


def test_flipped_bytes_of_a_header_are_one_line_that_names_the_file_or_lose_no_number(tmp_path):
    """A flip may spell another name, which is for those who load them to know."""
    file, tensors = tmp_path / "a.safetensors", {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    weights.write(file, tensors)
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")

    @settings(max_examples=300, deadline=None)
    @given(FLIPS)
    def survives(damage):
        file.write_bytes(damage(content[:header]) + content[header:])
        found = tensors_or_line(file)
        if isinstance(found, str):
            assert found.startswith(f"{file}: no whole safetensors file (")
            assert "\n" not in found
        else:
            assert len(found) == len(tensors)
            assert sum(tensor.nbytes for tensor in found.values()) == len(content) - header

    survives()


@pytest.mark.parametrize("name", PICKLED)
def test_a_model_whose_weights_are_pickled_is_not_opened(disk, name):
    """diffusers and transformers would take the .bin where there is nothing else."""
    file = disk / name
    torch.save(weights.read(file, ""), file.with_name(PICKLED[name]))
    file.unlink()
    assert str(disk / name.partition("/")[0]) in refused(READERS[name], disk)


def test_a_write_that_fails_leaves_the_old_weights(tmp_path):
    file = tmp_path / "a.safetensors"
    weights.write(file, {"a": torch.ones(2)})
    with pytest.raises(RuntimeError):  # safetensors': two names for the same memory
        weights.write(file, dict.fromkeys("ab", torch.zeros(2)))
    assert torch.equal(weights.read(file, "")["a"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [file]


def test_published_weights_are_opened_as_weights_alone(monkeypatch):
    asked = {}

    def download(url, **options):
        asked.update(options)
        return build(NET, 1000).state_dict()

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)
    imagenet(NET, 2)
    assert asked["weights_only"] is True


def test_published_weights_that_are_no_weights_are_one_line(monkeypatch, tmp_path):
    torch.save(build(NET, 2), tmp_path / "module.pth")
    monkeypatch.setattr(
        torchvision.models._api,
        "load_state_dict_from_url",
        lambda url, weights_only, **_: torch.load(tmp_path / "module.pth", weights_only=weights_only),
    )
    assert "ImageNet weights of mobilenet_v3_small can't be had" in refused(lambda at: imagenet(NET, 2), tmp_path)


def calls(tree: ast.AST) -> list[tuple[str, str, dict[str, ast.expr]]]:
    """What is called: whose, what, and with which keywords."""
    found = []
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        owner, _, name = ast.unparse(node.func).rpartition(".")
        found.append((owner, name, {keyword.arg or "**": keyword.value for keyword in node.keywords}))
    return found


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def faults(source: str) -> list[str]:
    """What in ``source`` could run code that lies beside the weights, or in them."""
    tree, found = ast.parse(source), []
    for owner, name, keywords in calls(tree):
        of_model = name == "load_lora_weights" or (name == "from_pretrained" and owner not in WITHOUT_WEIGHTS)
        if of_model and not is_true(keywords.get("use_safetensors")):
            found.append(f"{owner}.{name}: use_safetensors")
        if "trust_remote_code" in keywords:
            found.append(f"{owner}.{name}: trust_remote_code")
        if ((owner, name) == ("torch", "load") or name in PICKLING) and not is_true(keywords.get("weights_only")):
            found.append(f"{owner}.{name}: weights_only")
        if (owner, name) in {("joblib", "load"), ("pd", "read_pickle")} or "allow_pickle" in keywords:
            found.append(f"{owner}.{name}: pickle")
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if {"pickle", "dill", "cloudpickle"} & {module, *names} and names != ["UnpicklingError"]:
            found.append("pickle: imported")
        if module in {"torch", "joblib"} and "load" in names:
            found.append(f"{module}: load by its bare name")
    return found


WITHOUT_WEIGHTS = {"CLIPTokenizer", "CLIPImageProcessor", "DDPMScheduler", "DDIMScheduler"}
PICKLING = ("load_state_dict_from_url", "get_state_dict")  # of torch.hub, and of torchvision's weights through it


@pytest.mark.parametrize(
    "source",
    [
        "CLIPModel.from_pretrained(folder)",
        "CLIPModel.from_pretrained(folder, use_safetensors=False)",
        "pipeline.load_lora_weights(folder)",
        "CLIPTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "torch.load(file)",
        "DEFAULT.get_state_dict(progress=True)",
        "import pickle",
        "from pickle import loads",
        "from torch import load",
        "joblib.load(file)",
        "np.load(file, allow_pickle=True)",
    ],
)
def test_what_could_run_code_is_found(source):
    assert len(faults(source)) == 1


def test_no_source_could_run_code_that_lies_beside_weights_or_in_them():
    sources = [file for folder in ("raremix", "stages") for file in (ROOT / folder).rglob("*.py")]
    found = {str(file): faults(file.read_text(encoding="utf-8")) for file in sources}
    assert len(sources) > 150
    assert {file: what for file, what in found.items() if what} == {}
    asked = [name for file in sources for _, name, _ in calls(ast.parse(file.read_text(encoding="utf-8")))]
    assert {"from_pretrained", "load_lora_weights", "get_state_dict"} <= set(asked)
