"""Write into dvc.yaml, for the stage ``code``, the source files of all stages; copy dvc.yaml to the profiles."""

import sys
from pathlib import Path

from ruamel.yaml import YAML

from raremix.runtime.sources import PACKAGES, sources, stages

UP = "../../"  # from a profile to the repository's root


def main(root: Path) -> None:
    """Rewrite ``root/dvc.yaml`` and its copies."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(root / "dvc.yaml")
    code = pipeline["stages"]["code"]
    files = sorted({file for stage in stages(root) for file in sources(root, f"stages.{stage}")})
    for profile, up in {root: "", **dict.fromkeys(sorted((root / "profiles").iterdir()), UP)}.items():
        code["deps"] = [up + file for file in files]
        with (profile / "dvc.yaml").open("w") as stream:
            yaml.dump(pipeline, stream)


def is_source(dep: str) -> bool:
    """Whether a dependency is a file of this repository's packages."""
    return dep.removeprefix(UP).startswith(tuple(f"{package}/" for package in PACKAGES))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
