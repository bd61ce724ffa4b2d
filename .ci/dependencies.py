"""Write into dvc.yaml, for every stage, the source files its module transitively imports; copy it to the profiles."""

import ast
import sys
from pathlib import Path

from ruamel.yaml import YAML

CODE = "${code}/"
PACKAGES = ("raremix", "stages")


def main(root: Path) -> None:
    """Rewrite ``root/dvc.yaml`` and its copies."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    file = root / "dvc.yaml"
    pipeline = yaml.load(file)
    for stage in pipeline["stages"].values():
        others = [dep for dep in stage["deps"] if not dep.startswith(CODE)]
        stage["deps"] = [*(CODE + source for source in sources(root, stage["cmd"].split()[2])), *others]
    with file.open("w") as stream:
        yaml.dump(pipeline, stream)
    for profile in sorted((root / "profiles").iterdir()):
        (profile / "dvc.yaml").write_bytes(file.read_bytes())


def sources(root: Path, module: str) -> list[str]:
    """The files of this repository's packages that importing ``module`` reads, sorted, relative to ``root``."""
    found: set[str] = set()
    _collect(root, module, found)
    return sorted(found)


def _collect(root: Path, module: str, found: set[str]) -> None:
    if module.split(".")[0] not in PACKAGES:
        return
    path = root / (module.replace(".", "/") + ".py")
    path = path if path.is_file() else path.with_suffix("") / "__init__.py"
    name = path.relative_to(root).as_posix()
    if not path.is_file() or name in found:
        return
    found.add(name)
    parent = module.rpartition(".")[0]
    for imported in [parent, *_imports(path)]:
        _collect(root, imported, found)


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


if __name__ == "__main__":
    main(Path(sys.argv[1]))
