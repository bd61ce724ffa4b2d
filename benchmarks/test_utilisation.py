"""The roofline of DreamBooth's and of a classifier's step: operations, bytes, the floor they imply, what is reached.

Operations are counted in the step's own multiplications (``torch.utils.flop_counter``), forward and backward. Bytes are
those of weights, gradients and AdamW's moments alone: what activations move comes on top, so that the floor is a lower
bound. The chip's rate and bandwidth are measured beside it, by a product and a copy of large matrices.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np
import pytest
import torch
from fine_tuning import TOKEN, noise, ours
from models import GPU, fitting, here
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from raremix.classifier.model import build, normalised, on_device
from raremix.generator import tuned
from raremix.generator.base import load
from raremix.runtime.device import arithmetic, device

SIDE, BATCH, STEPS, INSTANCES, PRIOR = (8192, fitting(8), 30, 5, 40) if GPU else (2048, 12, 12, 5, 40)
IMAGES, SIZE, FINDINGS = (64, 224, 14) if GPU else (8, 224, 14)  # of a classifier's step
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


def keep(benchmark, step: Callable[[], torch.Tensor], learned: Iterable[torch.nn.Parameter], seconds: float) -> str:
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


def test_roofline_of_dreambooth(benchmark, base):
    images = noise(load(base), INSTANCES + PRIOR)
    clock = benchmark.pedantic(lambda: ours(load(base), images, INSTANCES, STEPS, BATCH), rounds=1)
    unet = tuned.prepare(load(base), TOKEN, None, None).unet.to(device())
    config, width = unet.config, unet.config.cross_attention_dim
    latents = torch.rand(2 * BATCH, config.in_channels, config.sample_size, config.sample_size, device=device())
    text = torch.rand(2 * BATCH, 77 if GPU else 32, width, device=device())

    def step() -> torch.Tensor:
        with arithmetic(here()):
            return unet(latents, torch.zeros(2 * BATCH, device=device()), text).sample.float().square().mean()

    print(f"\nDreamBooth: {keep(benchmark, step, unet.parameters(), clock.seconds_a_step())}")


def test_roofline_of_a_classifier(benchmark):
    model = on_device(build("resnet50", FINDINGS)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images, labels = torch.rand(IMAGES, 1, SIZE, SIZE, device=device()), torch.zeros(IMAGES, FINDINGS, device=device())

    def step() -> torch.Tensor:
        with arithmetic(here()):
            logits = model(normalised(images)).float()
        return binary_cross_entropy_with_logits(logits, labels)

    def whole() -> None:
        step().backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = benchmark.pedantic(lambda: fastest(whole), rounds=1)
    print(f"\nResNet-50: {keep(benchmark, step, model.parameters(), seconds)}")


SAVING = {"gradient_checkpointing": True}


@pytest.mark.parametrize(
    "changes",
    [{}, SAVING, SAVING | {"optimizer": "adafactor"}],
    ids=["plain", "gradient checkpointing", "gradient checkpointing, Adafactor"],
)
def test_memory_of_dreambooth(benchmark, base, tmp_path, monkeypatch, changes):
    """What an instance and a prior image a step take, in a process of its own: on a GPU of its memory, else of all."""
    monkeypatch.chdir(tmp_path)
    images = noise(load(base), INSTANCES + PRIOR)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        taken = benchmark.pedantic(lambda: pool.submit(most_memory, base, images, changes).result(), rounds=1)
    benchmark.extra_info.update(precision=here(), gigabytes=round(taken / 1e9, 2))
    print(f"\nDreamBooth, batch 1 + 1, {changes or 'plain'}: {taken / 1e9:.2f} GB at most")


def most_memory(base: Path, images: np.ndarray, changes: dict[str, object]) -> int:
    """Bytes, of a few steps."""
    ours(load(base), images, INSTANCES, 6, 1, **changes)
    return torch.cuda.max_memory_allocated() if GPU else 1024 * getrusage(RUSAGE_SELF).ru_maxrss
