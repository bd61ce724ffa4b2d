"""Write into dvc.yaml, for every stage, the source files its module transitively imports; copy it to the profiles.

Templates and tables that lie in an imported package are among them.

They are spelled out, as DVC takes a quarter of a second to fill a variable into the thousands of names.
"""

import ast
import sys
from pathlib import Path

from ruamel.yaml import YAML

UP = "../../"  # from a profile to the repository's root
PACKAGES = ("raremix", "stages")
READ = (".html", ".css", ".js", ".md", ".csv")  # beside code, which fills or looks things up in them


def main(root: Path) -> None:
    """Rewrite ``root/dvc.yaml`` and its copies."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(root / "dvc.yaml")
    for profile, up in {root: "", **dict.fromkeys(sorted((root / "profiles").iterdir()), UP)}.items():
        for stage in pipeline["stages"].values():
            others = [dep for dep in stage["deps"] if not is_source(dep)]
            stage["deps"] = [*(up + source for source in sources(root, module_of(stage["cmd"]))), *others]
        with (profile / "dvc.yaml").open("w") as stream:
            yaml.dump(pipeline, stream)


def module_of(command: str) -> str:
    """The module of ``stages`` that a stage's command runs."""
    return next(word for word in command.split() if word.startswith("stages."))


def is_source(dep: str) -> bool:
    """Whether a dependency is a file of this repository's packages."""
    return dep.removeprefix(UP).startswith(tuple(f"{package}/" for package in PACKAGES))


def sources(root: Path, module: str) -> list[str]:
    """The files of this repository's packages that importing ``module`` reads or may fill in, relative to ``root``."""
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
    if path.name == "__init__.py":
        found.update(file.relative_to(root).as_posix() for file in path.parent.iterdir() if file.suffix in READ)
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
