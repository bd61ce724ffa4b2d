"""Resume: a run that is killed and started again on a CPU ends with the bytes of one that was not.

A GPU's kernels may add up in another order each time, so that there a run never repeats another to the byte.

State lives in ``scratch/<hash>``, where the hash covers the stage's name, params, inputs, the device, the source of
this package and of the stages, and the versions of the libraries that compute, so that a state is found again by the
very same computation only. Where a stage makes several things, each with a state, those that are done wait in
``scratch/<hash>.made`` for the others. DVC knows nothing of it; it goes when the stage is done.
"""

import hashlib
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from raremix.runtime.device import device, native
from raremix.runtime.errors import UserError, no_memory, one_line
from raremix.runtime.files import replacing, sha256

SCRATCH = Path("scratch")
LIBRARIES = ("torch", "torchvision", "diffusers", "transformers", "peft", "numpy")  # that decide the bytes
SECONDS_BETWEEN_SAVES = 20.0
SHARE_OF_TIME = 0.05  # that saving may take


class Checkpoint:
    """The saved state of one computation, spelled by ``identity`` (paths stand for their files' bytes)."""

    def __init__(self, *identity: object) -> None:
        self.directory = SCRATCH / _digest(identity)
        self.made = self.directory.with_suffix(".made")
        self._file = self.directory / "state.pt"
        self._saved, self._cost = time.monotonic(), 0.0

    def restore(self, **parts: Any) -> int:
        """Load the saved state into ``parts`` (anything with load_state_dict); the number of steps that were done.

        Raises:
            UserError: the file of the state is damaged.
        """
        if not self._file.is_file():
            return 0
        try:
            state = torch.load(self._file, "cpu", weights_only=True)
        except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
            if no_memory(error):
                raise
            raise UserError(f"{self._file}: can't be read ({one_line(error)}); remove it and run again") from None
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save_if_due(self, step: int, **parts: Any) -> None:
        """Save after ``step`` steps, unless the last time is too short ago for what saving costs."""
        if time.monotonic() - self._saved >= max(SECONDS_BETWEEN_SAVES, self._cost / SHARE_OF_TIME):
            self.save(step, **parts)

    def save(self, step: int, **parts: Any) -> None:
        """Save ``parts`` as they are after ``step`` steps; a kill in between leaves the older state whole."""
        began = time.monotonic()
        with replacing(self._file) as temporary, temporary.open("wb") as file:
            torch.save({"step": step} | {name: _plain(part.state_dict()) for name, part in parts.items()}, file)
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def clear(self) -> None:
        """Forget the state: the output is written. The state goes first, lest a kill leaves it without its pictures."""
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class Learned:
    """What training changes of a model, as a part to save: the rest is there again before the first step."""

    model: torch.nn.Module

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The parameters that take gradients, by name."""
        return {name: kept.detach() for name, kept in self.model.named_parameters() if kept.requires_grad}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Give the model those of ``state``."""
        self.model.load_state_dict(state, strict=False)


def _plain(state: Any) -> Any:
    """``state`` with Python's own numbers for those of params' types, which a state of weights alone may not hold."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_plain(value) for value in state)
    if isinstance(state, int | float) and not isinstance(state, bool):
        return float(state) if isinstance(state, float) else int(state)
    return state


def _digest(identity: tuple[object, ...]) -> str:
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for item in (
        _hardware(),
        *(f"{name} {version(name)}" for name in LIBRARIES),
        *identity,
        *sorted(package.rglob("*.py")),
        *sorted((package.parent / "stages").rglob("*.py")),
    ):
        digest.update((_content(item) if isinstance(item, Path) else repr(item)).encode() + b"\x1f")
    return digest.hexdigest()[:24]


def _hardware() -> str:
    """What of the machine decides the bytes."""
    kind = device().type
    name = torch.cuda.get_device_name() if kind == "cuda" else kind
    return f"{name} {native('bfloat16')}"


def _content(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return " ".join(sha256(file) for file in files if file.is_file())
