"""Progress on stderr: a bar at a terminal, a line now and then in a log file."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Iterate ``items`` under a progress bar named ``what``, which starts at ``done`` after a resume."""
    interval = 0.2 if sys.stderr.isatty() else 15.0
    return iter(tqdm(items, what, total=total, initial=done, mininterval=interval, dynamic_ncols=True))
