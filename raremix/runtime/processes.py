"""Several processes on one task, as ``accelerate launch`` or ``torchrun`` start them; without either there is one."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState

T = TypeVar("T")


def begin() -> None:
    """Join the others and take one's own GPU, which is the device from then on: first of all."""
    _state()


def count() -> int:
    """How many there are."""
    return int(_state().num_processes)


def first() -> bool:
    """Whether this is the one that writes what they have made together."""
    return bool(_state().is_main_process)


def share(items: Sequence[T]) -> Sequence[T]:
    """Those of ``items`` that are this process's to do; each belongs to one process."""
    state = _state()
    return items[state.process_index :: state.num_processes]


def wait() -> None:
    """Go on when all are here."""
    _state().wait_for_everyone()


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each of the ``tensors`` by its sum over the processes, which all must give as many of the same shapes."""
    if count() > 1:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def _state() -> PartialState:
    """Accelerate's, which takes several processes without a GPU for one unless it is told of the CPU."""
    return PartialState(cpu=not torch.cuda.is_available())
