"""What shifts of h are like, of functions whose shifts the test knows."""

import numpy as np
import pytest
import torch
from torch import nn

from raremix.diagnosis.shifts import shifts


class Shifting(nn.Module):
    """Attribute 0 is twice h itself, attribute 1 one direction for all images, whatever the step."""

    direction = torch.nn.functional.one_hot(torch.tensor(3), 8).float().reshape(2, 2, 2)

    def forward(self, h, step):
        return torch.stack([2 * h, self.direction.expand_as(h)], dim=1)


def test_length_likeness_and_the_boundary_are_told_by_step():
    h = np.random.default_rng(0).normal(size=(6, 4, 2, 2, 2))
    h /= np.linalg.norm(h.reshape(6, 4, -1), axis=2)[:, :, None, None, None]
    moves = np.zeros((4, 2, 2, 2, 2), np.float32)
    moves[:, 1] = -5 * Shifting.direction.numpy()
    found = shifts(Shifting(), h.astype(np.float16), moves, [1])
    assert found["step"].tolist() == [0, 1, 2], "the last is never shifted"
    assert found["length"].tolist() == pytest.approx([1] * 3, abs=0.01)
    assert found["alike"].tolist() == pytest.approx([1] * 3)
    assert found["boundary"].tolist() == pytest.approx([-1] * 3)
    own = shifts(Shifting(), h.astype(np.float16), moves, [0])
    assert own["length"].tolist() == pytest.approx([2] * 3)
    assert (own["alike"] < 0.9).all(), "each image's own h"
    both = shifts(Shifting(), h.astype(np.float16), moves, [0, 1])
    assert both["length"].tolist() == pytest.approx([1.5] * 3, abs=0.01)
