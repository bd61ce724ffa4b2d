"""Every section of a params file, held against the stage that reads it before the first one starts.

In: params.yaml, dvc.yaml beside it (it names the stages), the list of attributes, published weights and data that
params.yaml names, this machine. Out: a line on such weights, or one that names the first mistake.
"""

import argparse
import re
from collections.abc import Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from raremix.classifier.model import build
from raremix.classifier.published import check_imagenet
from raremix.data.findings import known
from raremix.diagnosis.editing import check_start
from raremix.generator import preflight
from raremix.generator.optimizers import KEPT
from raremix.runtime.device import native
from raremix.runtime.errors import UserError
from raremix.runtime.gpu import check_gpu
from stages.attributes import table
from stages.boundary import check_images
from stages.cli import Stage, leave, read_params, read_section, sections, told
from stages.compare import check_primary
from stages.sections import Data, Study
from stages.truth import check_classifier

PARAMS, MODELS, CLASSIFIERS, LAUNCH = Path("params.yaml"), Path("models"), Path("results/classify"), "launch"
# Where stages name the network whose weights the backbone's file has.
NETWORKS = {
    "audit": "model",
    "screen": "model",
    "fidelity": "model",
    "classify": "model",
    "planted": "model",
    "readers": "network",
}
DIAGNOSED = 0  # the trial whose patients the diagnosis is taught and tried on


def check(params: dict[str, object], stages: list[Stage], file: Path) -> dict[str, Any]:
    """Hold ``params`` against the sections that ``stages`` read; these, by name.

    Raises:
        UserError: names the section or key of ``file`` and what is wrong there.
    """
    kinds = {name: kind for stage in stages for name, kind in sections(stage).items()}
    _check_launch(params.get(LAUNCH), file)
    if unknown := sorted(set(params) - {LAUNCH, *kinds}):
        raise UserError(f"{file}: no stage reads section '{unknown[0]}'; sections are {', '.join(kinds)}")
    values: dict[str, Any] = {name: read_section(params, name, kind, file) for name, kind in kinds.items()}
    check_primary(values["study"], values["compare"])
    _check_trials(values["study"].trials)
    _check_networks(values)
    known([values["planted"].finding], values["study"].findings, "planted.finding")
    if not (CLASSIFIERS / values["truth"].classifier / "config.json").is_file():  # another's may lie there
        check_classifier(values["study"], values["truth"])
    check_images(values["boundary"], values["latents"].images)
    check_start(values["editing"].start, values["latents"].sampling.steps)
    table(values["attributes"], values["study"], values["data"].layout)
    return values


def check_weights(values: dict[str, Any]) -> str:
    """A line on the published base model of the sections ``values``; nothing where the study trains its own.

    Raises:
        UserError: it, or ImageNet's weights of the backbone, can't be had, or are not fit for the study or the machine.
    """
    base, backbone, tuning = values["base"], values["backbone"], values["dreambooth"]
    if backbone.start == "imagenet":
        check_imagenet(backbone.model)
    if not base.pretrained:
        return ""
    folder = preflight.found(base.pretrained, base.revision)
    training, lora = tuning.training, tuning.lora_rank is not None
    use = preflight.Use(
        size=values["ingest"].size,
        lora=lora,
        text_encoder=training.text_encoder,
        averaged=training.ema_decay is not None,
        mixed=native(tuning.precision) == "bfloat16",
        kept=KEPT[training.optimizer],
        copies=_unwritten(values["study"], lora),
    )
    if folder is None:
        return preflight.announced(base.pretrained, base.revision, use) + "\n"
    return preflight.check(folder, use) + "\n"


def check_root(data: Data) -> None:
    """Refuse a folder of data that is not there; the phantom's tables lie in git.

    Raises:
        UserError: names the folder.
    """
    if data.layout != "phantom" and not Path(data.root).is_dir():
        raise UserError(f"params.yaml, data.root: there is no folder '{data.root}'; say where the data are")


def _unwritten(study: Study, lora: bool) -> int:
    """How many whole pipelines this folder lacks: the copy of the base model, and fine-tuned ones that are no LoRA."""
    keys = product(study.shots, study.trials, study.synthesized)
    tuned = [] if lora else [MODELS / "dreambooth" / f"{shots}-{trial}" / finding for shots, trial, finding in keys]
    return [folder.is_dir() for folder in (MODELS / "base", *tuned)].count(False)


def _check_trials(trials: list[int]) -> None:
    """Refuse a study without the trial that ``readers`` and what follows it take their patients from."""
    if DIAGNOSED not in trials:
        raise UserError(f"params.yaml, study.trials: {trials} lack {DIAGNOSED}, which the diagnosis reads; add it")


def _check_networks(values: dict[str, Any]) -> None:
    """Refuse a network that torchvision does not have, or that the backbone's weights are not of."""
    backbone = values["backbone"].model
    build(backbone, 1)
    for section, key in NETWORKS.items():
        found = getattr(values[section], key)
        if found != backbone and not getattr(values[section], "xrayvision", None):
            raise UserError(f"params.yaml, {section}.{key}: '{found}' is not the backbone's network; say '{backbone}'")


def _check_launch(command: object, file: Path) -> None:
    """What dvc.yaml has in front of the stages that can be of several processes."""
    if not (isinstance(command, str) and command.endswith(" -m")):
        raise UserError(f"{file}, {LAUNCH}: '{command}' runs no module; say `python -m` or `accelerate launch ... -m`")


def stages_of(pipeline: Path) -> list[Stage]:
    """The entry points that the commands of a ``dvc.yaml`` name, in its order.

    Raises:
        UserError: there is no stage of such a name.
    """
    names = dict.fromkeys(re.findall(r" stages\.(\w+)", pipeline.read_text(encoding="utf-8")))
    for name in names:
        if not Path(__file__).with_name(f"{name}.py").is_file():
            raise UserError(f"{pipeline}: there is no stage '{name}'; restore the file: git checkout {pipeline}")
    return [getattr(import_module(f"stages.{name}"), name) for name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    """Hold this folder's params, and what they name, against its stages and this machine."""
    about = "Hold params.yaml of this folder against every stage that its dvc.yaml names."
    argparse.ArgumentParser(prog="python -m stages.check", description=about).parse_args(arguments)
    try:
        values = check(read_params(PARAMS), stages_of(Path("dvc.yaml")), PARAMS)
        check_gpu()
        check_root(values["data"])
        print(check_weights(values), end="")
    except (UserError, OSError) as error:
        leave(f"stages.check: {told(error)}", 2)


if __name__ == "__main__":
    main()
