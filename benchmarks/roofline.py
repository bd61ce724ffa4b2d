"""The roofline of a training step: operations, bytes, the floor they imply, what is reached.

Operations are counted in the step's own multiplications (``torch.utils.flop_counter``), forward and backward. Bytes are
those of weights, gradients and AdamW's moments alone: what activations move comes on top, so that the floor is a lower
bound. The chip's rate and bandwidth are measured beside it, by a product and a copy of large matrices.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from fine_tuning import Run, noise, ours
from models import GPU, here
from torch.utils.flop_counter import FlopCounterMode

from raremix.generator.base import load
from raremix.runtime.device import device

SIDE = 8192 if GPU else 2048
# Forward and backward read the weights in float32, backward writes gradients; AdamW reads these, and reads and writes
# weights and two moments.
BYTES_A_PARAMETER = 4 * (2 + 1 + 1 + 6)


def fastest(call: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the fastest of some calls; the first is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        began = perf_counter()
        call()
        if GPU:
            torch.cuda.synchronize()
        seconds.append(perf_counter() - began)
    return min(seconds[1:])


def rate() -> float:
    """Operations a second of a large matrix product in the precision that is native here."""
    matrix = torch.rand(SIDE, SIDE, device=device(), dtype=getattr(torch, here()))
    return float(2 * SIDE**3 / fastest(lambda: matrix @ matrix))


def bandwidth() -> float:
    """Bytes a second that a copy in memory reads and writes."""
    source = torch.rand(SIDE, SIDE, 4, device=device())
    target = torch.empty_like(source)
    return float(2 * source.nbytes / fastest(lambda: target.copy_(source)))


def operations(step: Callable[[], torch.Tensor]) -> int:
    """Of ``step`` and its backward pass."""
    with FlopCounterMode(display=False) as counter:
        step().backward()
    return int(counter.get_total_flops())


def keep(
    benchmark: Any, step: Callable[[], torch.Tensor], learned: Iterable[torch.nn.Parameter], seconds: float
) -> str:
    """Put the roofline of a step of that many ``seconds`` into the benchmark; a line that tells it."""
    count, moved = operations(step), BYTES_A_PARAMETER * sum(parameter.numel() for parameter in learned)
    fast, wide = rate(), bandwidth()
    floor = max(count / fast, moved / wide)
    benchmark.extra_info.update(
        precision=here(),
        operations=count,
        bytes=moved,
        operations_a_second=fast,
        bytes_a_second=wide,
        floor=floor,
        seconds_a_step=seconds,
        utilisation=round(count / fast / seconds, 3),
    )
    return f"{count / 1e9:.0f} GFLOP, floor {floor:.3f} s, {seconds:.3f} s: {count / fast / seconds:.0%} of the rate"


def of_dreambooth(benchmark: Any, base: Path, run: Run, **changes: object) -> None:
    """The roofline of a fine-tuning's step, with ``changes`` of our params."""
    images = noise(load(base), run)
    clock = benchmark.pedantic(lambda: ours(load(base), images, run, **changes), rounds=1)
    pipeline = load(base)
    config, words, count = pipeline.unet.config, pipeline.tokenizer.model_max_length, 2 * run.batch
    with torch.device("meta"):  # counted without memory, and without what checkpointing computes twice
        unet = UNet2DConditionModel.from_config(config)
        latents = torch.rand(count, config.in_channels, config.sample_size, config.sample_size)
        steps, text = torch.zeros(count), torch.rand(count, words, config.cross_attention_dim)

    def step() -> torch.Tensor:
        return unet(latents, steps, text).sample.square().mean()

    print(f"\nDreamBooth: {keep(benchmark, step, unet.parameters(), clock.seconds_a_step())}")
