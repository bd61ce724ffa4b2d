"""The memory that ``stages.repro`` has stages keep."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from stages.repro import MEMORY

# Pages that each of 20 rounds of 64 MB taken and given back costs, after a first one.
FAULTS = """
import resource, torch
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(16_000_000)
for turn in range(20):
    before = faults()
    torch.ones(16_000_000)
    print(faults() - before)
"""


def heeded():
    """Whether memory is kept where it is asked for, and only there."""
    library, version = platform.libc_ver()
    always = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    newer = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    return newer and "[always]" not in (always.read_text() if always.exists() else "")


def faults(environment):
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not heeded(), reason="another or an older C library, or huge pages whether asked for or not")
def test_memory_that_is_given_back_is_there_at_once_when_it_is_asked_for_again():
    """In most rounds: where no huge page is free, small ones come, each of them once."""
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    assert min(faults(plain)) > 1000
    assert median(faults(plain | MEMORY)) < 20
