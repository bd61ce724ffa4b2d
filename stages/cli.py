"""The command line every stage shares."""

import gc
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, get_loader
from yaml import YAMLError

from raremix.data.checksums import read_checksums
from raremix.runtime.errors import UserError, no_memory
from raremix.runtime.files import full_disk
from raremix.runtime.sources import digest, repository

Stage = Callable[..., None]
CODE = Path("results/code")


def sections(stage: Stage) -> dict[str, type]:
    """The params sections that ``stage`` reads, with their types: its dataclass-typed parameters."""
    return {name: hint for name, hint in get_type_hints(stage).items() if is_dataclass(hint) and isinstance(hint, type)}


def run(stage: Stage, args: Sequence[str] | None = None) -> None:
    """Call ``stage`` from the command line: ``params.yaml --flag value ... [--section.key value ...]``.

    A user's error, a lack of memory or of room on the disk is one line on stderr and exit code 2; Ctrl-C is one line
    and 130.
    """
    _collect_again()
    name = stage.__module__ if stage.__module__ != "__main__" else f"stages.{stage.__name__}"
    try:
        _check_code(name)
        with full_disk("the disk"):
            stage(**_arguments(stage, name, list(sys.argv[1:] if args is None else args)))
    except KeyboardInterrupt:
        leave(f"{name}: stopped; run it again to go on", 130)
    except Exception as error:
        line = _without_memory(error, list(sections(stage))) or told(error)
        if line is None:
            raise
        leave(f"{name}: {line}", 2)


def told(error: Exception) -> str | None:
    """The one line that tells the user of ``error``; none for what is no user's to put right."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: {error.filename or 'the disk'}; free space or mend the path, then run it again"
    if isinstance(error, UserError | ArgumentError | OSError):  # an OSError of a library's, with the file in its text
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _without_memory(error: Exception, read: list[str]) -> str | None:
    """The one line for a lack of memory, on the device or beside it, in a stage that reads the sections ``read``."""
    where = f"params.yaml, {', '.join(read)}" if read else "params.yaml"
    if "BrokenProcessPool" in {kind.__name__ for kind in type(error).__mro__}:  # by name: joblib has one of its own
        return (
            "a worker process died, most likely for lack of memory; free some, or allow fewer cores, and run it again"
        )
    if no_memory(error):
        return f"no memory left; lower this stage's batch in {where}, or run it where there is more"
    return None


def _check_code(name: str) -> None:
    """Refuse to run ``name`` for DVC with other code than its list has: DVC would record it as made by that.

    Raises:
        UserError: a source file says something else by now.
    """
    stage = name.removeprefix("stages.")
    listed = CODE / f"{stage}.txt"
    if "DVC_STAGE" in os.environ and stage != CODE.name and listed.is_file():
        for file, said in read_checksums(listed).items():
            if not (there := repository() / file).is_file() or digest(there) != said:
                raise UserError(
                    f"{file} has changed since {listed} was written; run `dvc repro`, which begins with that"
                )


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
