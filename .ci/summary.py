"""What a pull request changes, as Markdown: answers, metrics, params and plots between two commits.

python .ci/summary.py BASE HEAD PAGES: the summary goes to stdout, the changed plots to PAGES/index.html, both commits
in one chart. HEAD is held against the commit where it left BASE: what BASE has changed since is not its doing. Only
what git holds is compared, so neither cache nor remote is needed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import yaml

HEADER = 2  # lines of a table without rows


def main(base: str, head: str, pages: str) -> None:
    """Print the summary and draw the plots."""
    print(f"# {base} → {head}\n")
    base = said("git", "merge-base", base, head).strip()
    changed = said("git", "diff", "--name-only", base, head, "--", "metrics", "profiles").split()
    answers = [file for file in changed if file.endswith("compare/answer.json")]
    lines = [line for file in answers for line in spoken(file, base, head)]
    print("## Answers\n\n" + ("\n".join(lines) or "No change.") + "\n")
    for title, command in (("Metrics", "metrics"), ("Params", "params")):
        table = said("dvc", command, "diff", base, head, "--md").strip()
        print(f"## {title}\n\n{table if len(table.splitlines()) > HEADER else 'No change.'}\n")
    names = [name for name, files in plots(head) if set(files) & set(changed)]
    print(f"## Plots\n\n{told(names)}\n")
    if names:
        said("dvc", "plots", "diff", base, head, "--targets", *names, "-o", pages)
    tables = [file for file in changed if file.endswith((".csv", ".png"))]
    print("## Tables and pictures\n\n" + ("\n".join(f"- {file}" for file in tables) or "No change."))


def spoken(file: str, base: str, head: str) -> Iterator[str]:
    """The lines of an answer in words, before and after."""
    yield f"**{file.removesuffix('/compare/answer.json')}**\n"
    for title, commit in (("before", base), ("after", head)):
        there = said("git", "ls-tree", "--name-only", commit, file)
        yield f"- {title}: {json.loads(said('git', 'show', f'{commit}:{file}'))['sentence'] if there else 'none'}"
    yield ""


def plots(commit: str) -> Iterator[tuple[str, list[str]]]:
    """The root pipeline's plots at ``commit``: the name of each, and the files it is drawn from."""
    for entry in yaml.safe_load(said("git", "show", f"{commit}:dvc.yaml"))["plots"]:
        if isinstance(entry, dict):
            ((name, how),) = entry.items()
            yield name, list(how["y"])


def told(names: list[str]) -> str:
    """Which plots changed, in a line."""
    return f"Changed: {', '.join(names)}. They are drawn in this run's artifact `plots`." if names else "No change."


def said(*command: str) -> str:
    """What a command prints; what it has to say of files that only a cache would hold is left out."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
