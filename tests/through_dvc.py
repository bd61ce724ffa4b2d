"""The smoke profile through DVC: copies of the repository, runs, and what kills them."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
WRITTEN = ("data", "models", "results", "metrics", "report")
IDENTITY = {f"GIT_{who}_{what}": f"test@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

DVC = (sys.executable, "-m", "dvc")
FAILED = 255  # DVC's exit code


def environment(folder: Path) -> dict[str, str]:
    return os.environ | IDENTITY | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder.parents[1])}


def dvc(arguments: str, folder: Path, code: int = 0) -> str:
    command = [*DVC, *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def timed_repro(profile: Path) -> dict[str, float]:
    """Run ``dvc repro``; how long a stage took, by its name before the @, the last of those that share it."""
    said, began = [], {}
    with subprocess.Popen(
        [*DVC, "repro"], cwd=profile, env=environment(profile), stdout=PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            said.append(line)
            began |= dict.fromkeys(ran(line), time.monotonic())
    assert process.returncode == 0, "".join(said)[-4000:]
    ends = [*list(began.values())[1:], time.monotonic()]
    return {stage.split("@")[0]: end - start for (stage, start), end in zip(began.items(), ends, strict=True)}


def ran(said: str) -> list[str]:
    """The stages that DVC ran, by what it said."""
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


def forget(stage: str, profile: Path) -> None:
    """Have DVC run ``stage`` again, all members if it has some, as if it had never run."""
    shutil.rmtree(profile.parents[1] / ".dvc/cache/runs", ignore_errors=True)
    yaml, lock = YAML(typ="safe"), profile / "dvc.lock"
    locked = yaml.load(lock)
    for name in [name for name in locked["stages"] if name.split("@")[0] == stage]:
        del locked["stages"][name]
    yaml.dump(locked, lock)


@contextmanager
def killed(profile: Path, log: Path) -> Iterator[subprocess.Popen]:
    """``dvc repro``, which is killed with the stage that it runs when the block ends; what they say goes to ``log``."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*DVC, "repro"], cwd=profile, env=environment(profile), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()  # DVC takes a lock for abandoned once there is no such process, and a zombie is one


def stop_at(process: subprocess.Popen, sign: Callable[[], object]) -> None:
    """Stop ``process`` and its children while there is ``sign``, so that nothing ends between seeing it and acting."""
    while process.poll() is None:
        if sign():
            os.killpg(process.pid, signal.SIGSTOP)
            if sign():
                return
            os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.002)
    pytest.fail("dvc repro ended before there was the sign")


def clone(folder: Path) -> Path:
    """The files git would commit, in a repository of their own; its smoke profile."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        if (ROOT / name).is_file() and Path(name).name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["git", "init", "-q"], ["git", "add", "."], ["git", "commit", "-qm", "copy"]):
        subprocess.run(command, cwd=folder, check=True, env=os.environ | IDENTITY)
    return folder / "profiles" / "smoke"


def digests(profile: Path) -> dict[str, str]:
    files = [path for name in WRITTEN for path in sorted((profile / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(profile)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
