"""The training losses so far, part of a checkpoint."""

import math
from typing import Any

import torch

from raremix.runtime.errors import UserError


class Losses:
    """One float a step; refuses the first that is not finite."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def append(self, loss: torch.Tensor) -> None:
        """Add a step's loss.

        Raises:
            UserError: the loss is not finite; names the step.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(f"the loss is {value} at step {len(self.values)}; lower the learning rate or use float32")
        self.values.append(value)

    def state_dict(self) -> dict[str, Any]:
        """The values, for a checkpoint."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The values of a checkpoint."""
        self.values = list(state["values"])
