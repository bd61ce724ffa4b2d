"""On what, when and from which commit a run was made: what a profile's committed metrics, and the report, must tell."""

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "scikit-learn", "pandas", "dvc")


def provenance(repository: Path) -> dict[str, object]:
    """Date (UTC), commit of ``repository`` and the tracked files that differ from it, hardware, versions.

    Raises:
        UserError: git knows of no commit there.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _git(repository, "rev-parse", "HEAD"),
        "changed": _git(repository, "diff", "--name-only", "HEAD").split(),
        "hardware": hardware(),
        "versions": versions(),
    }


def hardware() -> dict[str, str | int | None]:
    """The machine's ``cpu`` and ``gpu`` by name, no GPU being None, and how many ``cores`` this process may use."""
    return {"cpu": _cpu(), "cores": cores(), "gpu": _gpu()}


def versions() -> dict[str, str]:
    """Of Python and of the ``PACKAGES``."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "git failed").splitlines()[0]
        raise UserError(f"{repository}: no commit to name ({reason}); run it in a clone of the repository")
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str | None:
    import torch  # here, as the report has no other use for it, and it takes seconds

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
