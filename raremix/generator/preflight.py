"""Whether a published base model can be used here, found out from its files' headers before any work is done.

Nothing is loaded: a model of four gigabytes is held against params.yaml and the device in a second.
"""

import json
import math
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from httpx2 import HTTPError
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, SafetensorsParsingError
from safetensors import safe_open

from raremix.runtime import weights
from raremix.runtime.device import device
from raremix.runtime.errors import UserError, one_line

KEY = "params.yaml, base.pretrained"
NETWORKS = ("unet", "vae", "text_encoder")
OTHERS = ("tokenizer", "scheduler")
# Of full precision, whole or in shards; names with a variant ("fp16", "non_ema") are other copies of the same.
NAMES = ("diffusion_pytorch_model", "model")
WEIGHTS = re.compile(rf"({'|'.join(NAMES)})(-\d+-of-\d+)?\.safetensors")
# All that diffusers asks of a repository, which may hold other forms of the same.
FILES = ["model_index.json", *(f"{part}/*" for part in OTHERS), *(f"{part}/config.json" for part in NETWORKS)]
FILES += [f"{part}/{name}{rest}.safetensors" for part in NETWORKS for name in NAMES for rest in ("", "-*-of-*")]
CARD, UNTOLD = "README.md", "see its own card"
FLOAT, HALF = 4, 2  # bytes


@dataclass(frozen=True)
class Use:
    """What the study does with the model, as far as its size, memory and disk are concerned."""

    size: int  # pixels a side
    lora: bool  # train a LoRA instead of the UNet
    text_encoder: bool  # train it, too
    averaged: bool  # keep averaged weights
    mixed: bool  # multiply in bfloat16
    kept: int  # bytes that the optimizer keeps of each weight
    copies: int  # whole pipelines that are yet to be written: of the base model, and fine-tuned ones


def found(source: str, revision: str | None) -> Path | None:
    """The folder that holds ``source``: itself, or where the hub's ``revision`` is cached; None: to be downloaded.

    Raises:
        UserError: a repository without a revision, or one that is neither cached nor to be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    if revision is None:
        raise UserError(f"params.yaml, base.revision: pin the revision of '{source}', or give a local folder")
    with suppress(LocalEntryNotFoundError, ValueError):
        cached = Path(snapshot_download(source, revision=revision, local_files_only=True, allow_patterns=FILES))
        if all((cached / part).is_dir() for part in (*NETWORKS, *OTHERS)):
            return cached
    try:
        HfApi().repo_info(source, revision=revision, timeout=20)
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"{KEY}: '{source}' at {revision[:12]} is no folder, is not in the hub's cache, and the hub does not give "
            f"it ({one_line(error)}); download it where there is a network, and name its folder"
        ) from None
    return None


def licence(source: str, revision: str) -> str:
    """That of the hub's repository, as its card has it; the card stays in the cache, beside what will be there."""
    try:
        card = Path(hf_hub_download(source, CARD, revision=revision))
    except (HfHubHTTPError, HTTPError, OSError, ValueError):
        return UNTOLD
    return _licence(card.parent)


def check(folder: Path, use: Use) -> str:
    """Hold the pipeline in ``folder`` against its ``use`` and this machine; a line that tells its size and terms.

    Raises:
        UserError: a part is missing or not whole, it draws other sizes, fine-tuning it takes more memory than is free,
        before a single image, or models more disk.
    """
    for part in (*NETWORKS, *OTHERS):
        if not (folder / part).is_dir():
            raise UserError(f"{KEY}: {folder} has no {part}/, so it is no Stable Diffusion; get it again")
    if broken := weights.damaged(folder):
        raise UserError(f"{KEY}: {broken} is not whole; get it again")
    count = {part: _parameters(folder / part) for part in NETWORKS}
    _check_side(folder, use)
    return f"{folder}: {_fits(count, use)}; licence: {_licence(folder)}"


def announced(source: str, revision: str, use: Use) -> str:
    """A line that tells size and terms of what is yet to be downloaded, held against its ``use`` as in ``check``.

    The hub gives the headers of files without the files, and the networks' configurations.

    Raises:
        UserError: it does not, or fine-tuning takes more memory or disk than is free.
    """
    hub, count = HfApi(), {}
    try:
        names = hub.list_repo_files(source, revision=revision)
        small = [Path(hf_hub_download(source, f"{part}/config.json", revision=revision)) for part in ("unet", "vae")]
        for part in NETWORKS:
            files = [name for name in names if name.startswith(f"{part}/") and WEIGHTS.fullmatch(Path(name).name)]
            headers = [hub.parse_safetensors_file_metadata(source, file, revision=revision) for file in files]
            count[part] = sum(sum(header.parameter_count.values()) for header in headers)
    except (HfHubHTTPError, HTTPError, SafetensorsParsingError, OSError, ValueError) as error:
        raise UserError(
            f"{KEY}: the hub does not tell what '{source}' at {revision[:12]} holds ({one_line(error)}); download it, "
            "and name its folder"
        ) from None
    if lacking := [part for part in NETWORKS if not count[part]]:
        raise UserError(f"{KEY}: '{source}' at {revision[:12]} holds no {lacking[0]} as safetensors; name another")
    _check_side(small[0].parents[1], use)
    return f"{source} at {revision} will be downloaded: {_fits(count, use)}; licence: {licence(source, revision)}"


def _fits(count: dict[str, int], use: Use) -> str:
    """What ``count`` parameters need, in words.

    Raises:
        UserError: more than is free.
    """
    needed, free = _needed(count, use), _free()
    stored, room = _stored(count, use), shutil.disk_usage(Path.cwd()).free
    if needed > free:
        raise UserError(
            f"{KEY}: to fine-tune it takes {needed / 1e9:.1f} GB before a single image, and the {device().type} has "
            f"{free / 1e9:.1f} GB free; set dreambooth.training.optimizer: adafactor or dreambooth.lora_rank, or use "
            "another machine"
        )
    if stored > room:
        raise UserError(
            f"{KEY}: the study's models take {stored / 1e9:.1f} GB of disk, and {Path.cwd()} has {room / 1e9:.1f} GB "
            "free; make room, or set dreambooth.lora_rank"
        )
    memory = f"{needed / 1e9:.1f} GB of {free / 1e9:.1f} GB free while fine-tuned, before images"
    disk = f"{stored / 1e9:.1f} GB of {room / 1e9:.1f} GB free on disk for models"
    return f"{sum(count.values()) / 1e6:.0f} million parameters, {memory}, {disk}"


def _parameters(part: Path) -> int:
    files = [file for file in sorted(part.iterdir()) if WEIGHTS.fullmatch(file.name)]
    if not files:
        raise UserError(f"{KEY}: {part} holds no weights as safetensors; get those files, too")
    return sum(math.prod(shape) for file in files for shape in _shapes(file))


def _shapes(file: Path) -> list[list[int]]:
    with safe_open(file, "pt") as tensors:
        return [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 - it is no mapping


def _check_side(folder: Path, use: Use) -> None:
    side = _side(folder)
    if side != use.size:
        raise UserError(f"params.yaml, ingest.size: {use.size} pixels, but {folder} draws {side}; set it to that")


def _side(folder: Path) -> int:
    """Pixels a side of what the pipeline draws."""
    levels = _configured(folder / "vae", "block_out_channels", list)
    return int(_configured(folder / "unet", "sample_size", int)) * 2 ** (len(levels) - 1)


def _configured(part: Path, key: str, kind: type) -> Any:
    file = part / "config.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{KEY}: {file} can't be read ({one_line(error)}); get it again") from None
    if not isinstance(value, kind):
        raise UserError(f"{KEY}: {file}: '{key}' is {value!r}, no {kind.__name__}; get it again")
    return value


def _needed(count: dict[str, int], use: Use) -> int:
    """Bytes of weights and, of what learns, of gradients, what the optimizer keeps, averages and bfloat16 copies.

    A GPU holds what its steps need, and all networks when samples are drawn and no gradients are there; without one all
    lies in the same memory, as the base model beside the copy of it that is taught.
    """
    learned = _learned(count, use)
    at_work = count["unet"] + use.text_encoder * count["text_encoder"]
    beside = use.kept * learned + use.averaged * FLOAT * learned + (HALF * at_work if use.mixed else 0)
    if device().type == "cuda":
        return FLOAT * max(at_work + learned, sum(count.values())) + beside
    return FLOAT * (2 * sum(count.values()) + learned) + beside


def _stored(count: dict[str, int], use: Use) -> int:
    """Bytes of pipelines, and of the one state to go on from that is written while the older one is there.

    A LoRA, and the state of one, is some megabytes.
    """
    state = (FLOAT + use.kept + use.averaged * FLOAT) * _learned(count, use)
    return FLOAT * sum(count.values()) * use.copies + (2 * state if use.copies else 0)


def _learned(count: dict[str, int], use: Use) -> int:
    """Parameters that take gradients, a LoRA's few aside."""
    return (0 if use.lora else count["unet"]) + use.text_encoder * count["text_encoder"]


def _free() -> int:
    """Bytes of the device."""
    return int(torch.cuda.mem_get_info()[0]) if device().type == "cuda" else int(psutil.virtual_memory().available)


def _licence(folder: Path) -> str:
    """As the front matter of the model's card has it."""
    card = folder / CARD
    said = (
        re.search(r"^license: *(\S+)", card.read_text(encoding="utf-8", errors="replace"), re.M)
        if card.is_file()
        else None
    )
    return said[1] if said else UNTOLD
