"""What sets an arm's training apart from the others': its loss, a second phase, stronger augmentation."""

from dataclasses import dataclass

from raremix.classifier.loss import LossName


@dataclass(frozen=True)
class Recipe:
    """How a classifier trains. By default: one phase, binary cross entropy, the common augmentation."""

    loss: LossName = "cross_entropy"
    late: float = 0.0  # share of the steps, the last ones, that are a phase of their own
    anew: bool = True  # learning rate and average of weights begin anew with that phase
    head_only: bool = False  # in it the last layer alone is trained
    randaugment: bool = False


RECIPES = {
    "reweight": Recipe(loss="class_balanced"),
    "crt": Recipe(late=0.1, head_only=True),  # 10 of 100 epochs in Kang et al. 2020
    "ldam_drw": Recipe(loss="ldam_drw", late=0.2, anew=False),  # from epoch 160 of 200 in Cao et al. 2019
    "classical_augmentation": Recipe(randaugment=True),
    "synthetic_pretrain": Recipe(late=0.5),
}


def recipe(arm: str) -> Recipe:
    """How classifiers of ``arm`` train: most arms differ in their images alone, and have the default."""
    return RECIPES.get(arm, Recipe())
