"""How many CPU cores this process may use."""

import os


def cores() -> int:
    """The cores that taskset, a container or Slurm leave to this process, where the platform tells; else all.

    Processes that one launcher has started on this machine share them.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(there // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
