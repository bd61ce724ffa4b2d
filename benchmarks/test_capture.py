"""What keeping h and e costs over plain sampling: ``python -m pytest benchmarks -s`` where models/base is."""

from pathlib import Path
from time import perf_counter

import pytest

from raremix.data import captions
from raremix.diagnosis.hspace import capture, drawn, noise_for
from raremix.generator.base import load
from raremix.generator.sample import Sampling, plain
from raremix.runtime.device import device

BASE = Path("models/base")
SAMPLING = Sampling(16, 2.0, 32, "float32")
IMAGES, ROUNDS = 64, 5


@pytest.mark.skipif(not (BASE / "model_index.json").is_file(), reason="no models/base here; run `dvc repro base`")
def test_capture_over_plain_sampling(benchmark, tmp_path):
    """Both in turn, so that a noisy machine is as noisy for either; the ratio of the fastest rounds is what counts."""
    pipeline = load(BASE).to(device())
    noise = noise_for(pipeline, [str(index) for index in range(IMAGES)])
    order = plain([captions.CLASS_PROMPT] * IMAGES, range(IMAGES))
    without = []

    def plain_first():
        began = perf_counter()
        drawn(pipeline, noise, order, SAMPLING)
        without.append(perf_counter() - began)

    benchmark.pedantic(
        capture, (pipeline, noise, order, SAMPLING, tmp_path), setup=plain_first, rounds=ROUNDS, warmup_rounds=1
    )
    ratio = benchmark.stats.stats.min / min(without)
    benchmark.extra_info["ratio"] = ratio
    print(f"\ncapture takes {ratio:.3f} of plain sampling's time ({IMAGES} images, {SAMPLING.steps} steps)")
