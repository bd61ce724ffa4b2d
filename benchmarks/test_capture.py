"""What keeping h and e costs over plain sampling."""

from models import GPU, fitting

from raremix.data import captions
from raremix.diagnosis.hspace import capture, drawn, noise_for
from raremix.generator.base import load
from raremix.generator.sample import Sampling, plain
from raremix.runtime.device import device

BATCH = fitting(16) if GPU else 32
SAMPLING = Sampling(16, 2.0, BATCH, "float32")
IMAGES, ROUNDS = (BATCH, 2) if GPU else (2 * BATCH, 5)


def test_capture_over_plain_sampling(times_as_fast, base, tmp_path):
    pipeline = load(base).to(device())
    noise = noise_for(pipeline, [str(index) for index in range(IMAGES)])
    order = plain([captions.CLASS_PROMPT] * IMAGES, range(IMAGES))
    ratio = times_as_fast(
        lambda: capture(pipeline, noise, order, SAMPLING, tmp_path),
        lambda: drawn(pipeline, noise, order, SAMPLING),
        ROUNDS,
    )
    print(f"\ncapture takes {1 / ratio:.3f} of plain sampling's time ({IMAGES} images, {SAMPLING.steps} steps)")
