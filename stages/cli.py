"""The command line every stage shares."""

import gc
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, get_loader
from yaml import YAMLError

from raremix.runtime.errors import UserError
from raremix.runtime.files import full_disk

Stage = Callable[..., None]


def sections(stage: Stage) -> dict[str, type]:
    """The params sections that ``stage`` reads, with their types: its dataclass-typed parameters."""
    return {name: hint for name, hint in get_type_hints(stage).items() if is_dataclass(hint) and isinstance(hint, type)}


def run(stage: Stage, args: Sequence[str] | None = None) -> None:
    """Call ``stage`` from the command line: ``params.yaml --flag value ... [--section.key value ...]``.

    A user's error is one line on stderr and exit code 2; Ctrl-C is one line and 130.
    """
    _collect_again()
    name = stage.__module__ if stage.__module__ != "__main__" else f"stages.{stage.__name__}"
    try:
        with full_disk("the disk"):
            stage(**_arguments(stage, name, list(sys.argv[1:] if args is None else args)))
    except (UserError, ArgumentError) as error:
        leave(f"{name}: {' '.join(str(error).split())}", 2)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        leave(
            f"{name}: {error.strerror}: {error.filename or 'the disk'}; free space or mend the path, then run it again",
            2,
        )
    except KeyboardInterrupt:
        leave(f"{name}: stopped; run it again to go on", 130)


def _collect_again() -> None:
    """Garbage, but for what was imported while its collection was off (stages/__init__.py)."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _arguments(stage: Stage, name: str, args: list[str]) -> dict[str, object]:
    parser = ArgumentParser(
        prog=f"python -m {name} params.yaml",
        description=(inspect.getdoc(stage) or "").split("\n")[0],
        exit_on_error=False,
    )
    parser.add_function_arguments(stage, as_group=False, as_positional=False)
    if {"-h", "--help"} & set(args):
        parser.parse_args(["--help"])
    if not args or args[0].startswith("-"):
        raise UserError(f"give the params file first: python -m {name} params.yaml --flag value ...; or --help")
    file, *flags = args
    params = read_params(Path(file))
    for section, kind in sections(stage).items():
        read_section(params, section, kind, Path(file))
    values = [f"--{section}={json.dumps(params[section])}" for section in sections(stage)]
    return parser.instantiate(parser.parse_args([*values, *flags])).as_dict()


def read_section(params: dict[str, object], section: str, kind: type, file: Path) -> Any:
    """The ``section`` of ``params``, read from ``file``, as a ``kind``.

    Raises:
        UserError: it is missing, or a key or value in it is not as ``kind`` has it.
    """
    if section not in params:
        raise UserError(f"{file}: section '{section}' is missing; add it (see the repository's root params.yaml)")
    if not isinstance(params[section], dict):
        raise UserError(f"{file}: section '{section}' is no mapping of keys; see the repository's root params.yaml")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{section}", type=kind)
    try:
        return parser.instantiate(parser.parse_object({section: params[section]}))[section]
    except ArgumentError as error:
        raise UserError(f"{file}: {error}") from None


def read_params(file: Path) -> dict[str, object]:
    """The sections of a params file.

    Raises:
        UserError: there is no such file, or it is no mapping in YAML.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such params file; give its path as the first argument")
    try:
        params = get_loader("yaml")(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else f"{file}"
        raise UserError(f"{where}: not YAML ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(params, dict):
        raise UserError(f"{file}: not a mapping of sections")
    return params


def leave(line: str, code: int) -> None:
    """End the process with ``line`` on stderr and exit code ``code``."""
    print(line, file=sys.stderr)
    sys.exit(code)
