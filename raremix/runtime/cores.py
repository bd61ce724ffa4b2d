"""How many CPU cores this process may use."""

import os


def cores() -> int:
    """The cores that taskset, a container or Slurm leave to this process, where the platform tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
