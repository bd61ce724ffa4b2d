"""A tiny base model, fine-tuned on a handful of images of noise."""

import numpy as np
import tiny

from raremix.generator import tuned
from raremix.generator.base import load
from raremix.generator.dreambooth import Captioned, fine_tune
from raremix.runtime.checkpoints import Checkpoint


def captioned(count=3, token="<nodule_mass>"):
    pixels = tiny.images(count, seed=1)
    boxes = np.zeros(pixels.shape, np.float32)
    boxes[:, 4:9, 4:9] = 1
    return Captioned(pixels, [f"chest x-ray pa view {token}"] * count, boxes)


def teach(base, name="x", training=tiny.DREAMBOOTH, lora_rank=None, precision="float32"):
    pipeline = tuned.prepare(load(base), "<nodule_mass>", "<calcification>", lora_rank)
    prior = Captioned(tiny.images(4, seed=2), ["chest x-ray pa view"] * 4, np.zeros((4, 16, 16), np.float32))
    losses = fine_tune(pipeline, captioned(), prior, training, precision, "n", Checkpoint(name), lambda step: None)
    return pipeline, losses


def weights(pipeline):
    return {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}
