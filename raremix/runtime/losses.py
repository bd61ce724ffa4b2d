"""The training losses so far, part of a checkpoint."""

import math
from typing import Any

import torch

from raremix.runtime.errors import UserError

TOGETHER = 16  # losses that are read at once: to read one is to wait until the GPU has done all that was asked of it


class Losses:
    """One float a step; refuses the first that is not finite, at most ``TOGETHER`` steps later."""

    def __init__(self) -> None:
        self._read: list[float] = []
        self._waiting: list[torch.Tensor] = []

    @property
    def values(self) -> list[float]:
        """The losses of all steps.

        Raises:
            UserError: one is not finite; names the step.
        """
        self._catch_up()
        return self._read

    def append(self, loss: torch.Tensor) -> None:
        """Add a step's loss, a single number.

        Raises:
            UserError: it, or one of the last steps, is not finite; names the step.
        """
        self._waiting.append(loss.detach())
        if len(self._waiting) == TOGETHER:
            self._catch_up()

    def _catch_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for value in torch.stack(waiting).tolist() if waiting else ():
            step = len(self._read)
            if not math.isfinite(value):
                raise UserError(f"the loss is {value} at step {step}; lower the learning rate or use float32")
            self._read.append(value)

    def state_dict(self) -> dict[str, Any]:
        """The values, for a checkpoint."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The values of a checkpoint."""
        self._read, self._waiting = list(state["values"]), []
