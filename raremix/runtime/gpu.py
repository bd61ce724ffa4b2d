"""Whether torch can use the GPU that is there; where it can't, it computes on the CPU, for weeks in place of hours."""

import os
from pathlib import Path

import torch

from raremix.runtime.errors import UserError

DRIVER = Path("/proc/driver/nvidia/version")
HIDDEN = "CUDA_VISIBLE_DEVICES"
REMEDY = f"mend that, or say `export {HIDDEN}=` to compute on the CPU"


def check_gpu() -> None:
    """Look before anything is computed.

    Raises:
        UserError: a driver of NVIDIA's is loaded and torch finds no GPU, or one that it was not built for.
    """
    if os.environ.get(HIDDEN) in ("", "-1"):
        return
    if torch.cuda.is_available():
        _check_built()
    elif DRIVER.is_file():
        raise UserError(
            f"NVIDIA's driver is loaded, but torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU it can "
            f"use: the driver is too old, or no GPU was given to this process; {REMEDY}"
        )


def _check_built() -> None:
    """A GPU runs what was built for its major capability and at most its minor one, or intermediate code for less."""
    there = torch.cuda.get_device_capability()
    for architecture in torch.cuda.get_arch_list():
        kind, number = architecture.split("_")
        number = number.rstrip("af")  # sm_90a is sm_90 with what no later one has
        built = int(number[:-1]), int(number[-1])
        if built <= there and (kind == "compute" or built[0] == there[0]):
            return
    raise UserError(
        f"torch {torch.__version__} is not built for {torch.cuda.get_device_name()} (capability "
        f"{there[0]}.{there[1]}), but for {', '.join(torch.cuda.get_arch_list())}; {REMEDY}"
    )
