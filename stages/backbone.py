"""The start of every classifier, the same for all arms.

In: the base model's corpus and captions. Out: the weights of one network.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raremix.classifier.model import Start, build, imagenet
from raremix.classifier.train import ClassifierTraining, Examples, train
from raremix.data import captions, images
from raremix.data.checksums import read_checksums
from raremix.data.manifest import write_csv
from raremix.runtime import weights
from raremix.runtime.checkpoints import Checkpoint
from raremix.runtime.device import one_core
from stages.cli import run


@dataclass(frozen=True)
class Backbone:
    """Where every classifier starts."""

    model: str  # a torchvision classifier
    start: Start  # "corpus": pre-trained here on the words of the captions
    training: ClassifierTraining


@one_core()
def backbone(
    backbone: Backbone, manifest: Path, metadata: Path, corpus: Path, checksums: Path, out: Path, log: Path
) -> None:
    """Pre-train one network to name the words of the base corpus's captions, or take ImageNet's, or random weights."""
    log.mkdir(parents=True, exist_ok=True)
    rows = captions.of_corpus(manifest, metadata, corpus)
    words = captions.word_table(rows["prompt"])
    checkpoint = Checkpoint("backbone", backbone, manifest, metadata, corpus, checksums)
    if backbone.start == "corpus":
        pixels = images.load(list(rows["file"]), read_checksums(checksums))
        examples = Examples(pixels, words.to_numpy(np.float32), np.ones(len(rows)))
        network = build(backbone.model, words.shape[1])
        network, losses = train(network, examples, backbone.training, "backbone", checkpoint)
        write_csv(pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses}), log / "loss.csv")
    else:
        network = (imagenet if backbone.start == "imagenet" else build)(backbone.model, words.shape[1])
    weights.write(out, network.state_dict())
    checkpoint.clear()


if __name__ == "__main__":
    run(backbone)
