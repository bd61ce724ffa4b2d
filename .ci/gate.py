"""The gate: fail when the committed dvc.lock is not what the code, the params and the metrics in git say.

Run in the repository's root, in any clone: neither cache nor remote is needed. ``dvc repro --dry --allow-missing``
alone does not tell: it exits with 0 when a stale stage's inputs are all in git, and when a metrics file was deleted.
A tracked metrics/STALE.md, which says why and names the commit since which the lock is stale, lets stale code pass
with a loud warning. Metrics that differ from what dvc.lock records never pass, nor do entries of stages that are gone.
"""

import re
import subprocess
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.forget import LOCK, dead

FRESH = "Data and pipelines are up to date."
STALE = Path("metrics/STALE.md")


def main() -> int:
    """Print one line a fault; 1 if there is any, else 0."""
    try:
        faults = edited_metrics() + dead_entries()
    except DvcException as error:
        faults = [f"dvc.yaml or {LOCK} cannot be read: {error}"]
    stale = [] if faults else stale_stages()
    if STALE.exists():
        faults += excuse_faults()
        warn(stale or [f"nothing is stale, so delete {STALE}"])
    else:
        faults += stale
    for fault in faults:
        print(f"gate: {fault}", file=sys.stderr)
    return 1 if faults else 0


def edited_metrics() -> list[str]:
    """The uncached outputs (metrics, which git has) that are not byte for byte what dvc.lock says a run wrote."""
    with Repo() as repo:
        outputs = [out for stage in repo.stage.load_all("dvc.yaml") for out in stage.outs if not out.use_cache]
        faults = []
        for out in outputs:
            if not out.hash_info:
                if out.exists:
                    faults.append(f"{out}: no run that dvc.lock records wrote it; run: dvc repro")
            elif not out.exists:
                faults.append(f"{out}: is deleted, dvc.lock records it; restore it or run: dvc repro")
            elif out.get_hash() != out.hash_info:
                faults.append(f"{out}: is edited, its md5 is not that of dvc.lock; restore it or run: dvc repro")
        homes = [Path(out.fs_path).resolve() for out in outputs]
    return faults + [f"{file}: belongs to no stage's output; remove it" for file in strangers(homes)]


def dead_entries() -> list[str]:
    """What dvc.lock says of stages that there are no more, which DVC itself never takes out."""
    with Repo() as repo:
        gone = dead(repo)
    if not gone:
        return []
    return [f"{LOCK}: of {len(gone)} entries dvc.yaml has no stage, as of {gone[0]}; run: python -m stages.forget"]


def strangers(homes: list[Path]) -> list[str]:
    """The tracked files of metrics/ that lie in none of ``homes``, the uncached outputs."""
    listed = subprocess.run(["git", "ls-files", "metrics"], capture_output=True, text=True, check=True).stdout
    files = [file for file in listed.splitlines() if Path(file) != STALE]
    return [file for file in files if not any(Path(file).resolve().is_relative_to(home) for home in homes)]


def stale_stages() -> list[str]:
    """The stages that ``dvc repro`` would run, by its own words."""
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    # Where a list that is not in git was made anew, DVC stops at the first stage that reads it.
    running = re.findall(r"(?:Running stage|failed to reproduce) '([^']+)'", done.stdout)
    if running:
        return [f"dvc.lock is stale: {', '.join(running)} would run; run: dvc repro, and commit dvc.lock and metrics"]
    if done.returncode or not lines or lines[-1] != FRESH:
        return [f"dvc.lock is stale or dvc failed; dvc repro --dry --allow-missing says: {' | '.join(lines[-3:])}"]
    return []


def excuse_faults() -> list[str]:
    """What keeps metrics/STALE.md from being an excuse: it must be tracked, say why, and name a commit there is."""
    if not git("ls-files", "--error-unmatch", str(STALE)):
        return [f"{STALE}: is not tracked by git; git add it"]
    text = STALE.read_text()
    commits = re.findall(r"\b[0-9a-f]{7,40}\b", text)
    if not any(git("cat-file", "-e", f"{commit}^{{commit}}") for commit in commits):
        return [f"{STALE}: names no commit of this repository; say since which commit the lock is stale"]
    if len(re.findall(r"[A-Za-z]{2,}", text)) < 3:
        return [f"{STALE}: does not say why the lock is stale"]
    return []


def git(*arguments: str) -> bool:
    return subprocess.run(["git", *arguments], capture_output=True).returncode == 0


def warn(lines: list[str]) -> None:
    rule = "!" * 100
    print(rule, f"!! {STALE} is here: the committed figures are OLDER than the code, nothing is finished.", sep="\n")
    for line in [*lines, *STALE.read_text().strip().splitlines()]:
        print(f"!! {line}")
    print(rule)


if __name__ == "__main__":
    sys.exit(main())
