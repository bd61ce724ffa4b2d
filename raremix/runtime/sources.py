"""The source files that a stage is made of, and digests of what they say.

DVC runs a stage again when one of its dependencies has changed. Some forty source files among the dependencies of each
member of a matrix made every command of DVC's slow and dvc.lock unreadable, so a list of them stands for the files.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from raremix.runtime.errors import UserError

PACKAGES = ("raremix", "stages")
READ = (".html", ".css", ".js", ".md", ".csv")  # beside code, which fills or looks things up in them


def entry_points(root: Path) -> list[str]:
    """The modules of ``stages`` in ``root`` that end by running what bears their own name: pipeline's and by hand."""
    files = sorted((root / "stages").glob("*.py"))
    return [file.stem for file in files if file.read_text(encoding="utf-8").endswith(f"    run({file.stem})\n")]


def repository() -> Path:
    """The folder that holds the packages."""
    return Path(__file__).parents[2]


def sources(root: Path, module: str) -> list[str]:
    """The files of the packages in ``root`` that importing ``module`` reads or may fill in, relative to ``root``.

    Templates and tables that lie in an imported package are among them.

    Raises:
        UserError: an import does not spell the package.
    """
    found: set[str] = set()
    _collect(root, module, found)
    return sorted(found)


def digest(file: Path) -> str:
    """Hex SHA-256 of what a source file says: of Python without comments, docstrings and layout, else of its bytes."""
    if file.suffix != ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for node in ast.walk(tree):
        if _documented(node):
            del node.body[0]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _documented(node: ast.AST) -> bool:
    may_be = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return may_be and ast.get_docstring(node, clean=False) is not None  # type: ignore[arg-type]


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
    for imported in [module.rpartition(".")[0], *_imports(path)]:
        _collect(root, imported, found)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise UserError(f"{path}, line {node.lineno}: import by the full name, which the list of sources needs")
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
