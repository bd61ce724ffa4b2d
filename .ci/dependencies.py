"""Write into dvc.yaml what the stage ``code`` reads and writes; copy dvc.yaml to the profiles.

It reads the source files of all entry points and writes a list for each, every one an output of its own: of a file
within a folder that is the output, the gate could not tell without DVC's cache whether it is what the next stage read.
"""

import re
import sys
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from raremix.runtime.sources import entry_points, sources

UP = "../../"  # from a profile to the repository's root


def main(root: Path) -> None:
    """Rewrite ``root/dvc.yaml`` and its copies."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(root / "dvc.yaml")
    code = pipeline["stages"]["code"]
    files = sorted({file for stage in entry_points(root) for file in sources(root, f"stages.{stage}")})
    for profile, up in {root: "", **dict.fromkeys(sorted((root / "profiles").iterdir()), UP)}.items():
        code["deps"] = [up + file for file in files]
        code["outs"] = [f"results/code/{stage}.txt" for stage in entry_points(root)]
        text = StringIO()
        yaml.dump(pipeline, text)
        (profile / "dvc.yaml").write_text(re.sub(r"(?<=[^:\n]\n)(?=  \w+:\n    desc:)", "\n", text.getvalue()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
