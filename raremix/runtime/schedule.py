"""Learning rates as functions of the step, so that a resumed run needs no scheduler state."""

import math


def cosine(step: int, steps: int, warmup: int) -> float:
    """The share 0..1 of the peak learning rate: a linear warm-up over ``warmup`` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
