"""Where tensors live and in which precision they are multiplied: the only place that knows a GPU from a CPU."""

import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from raremix.runtime.cores import cores
from raremix.runtime.seeds import seed_for

Precision = Literal["float32", "bfloat16"]
X86 = ("x86_64", "AMD64")

_most: ContextVar[int | None] = ContextVar("the most cores to use", default=None)


def device() -> torch.device:
    """The GPU if there is one, else the CPU with all the cores that this process may use."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    # taskset and Slurm narrow the affinity, which macOS lacks.
    torch.set_num_threads(_most.get() or cores())
    return torch.device("cpu")


@contextmanager
def one_core() -> Iterator[None]:
    """Where there is no GPU, compute on a single core.

    How many cores share a sum changes its rounding, and so the weights that a training ends with; and a small network
    makes such poor use of a second core that two trainings side by side are done sooner.
    """
    token = _most.set(1)
    device()
    try:
        yield
    finally:
        _most.reset(token)
        device()


def native(precision: Precision) -> Precision:
    """``precision``, or float32 on a GPU or an x86 CPU that is no faster in bfloat16.

    A CPU is faster by AMX, or AMD's by AVX512-BF16. Intel's multiply half as many numbers a second by that as in
    float32, and where a virtual machine hides AMX there is nothing else; without either, bfloat16 is imitated. A step
    of training then takes 1.3 to 1.8 times as long as in float32 (``benchmarks/test_precision.py``). GPUs older than
    Ampere imitate it too.
    """
    if device().type == "cuda":
        return precision if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if platform.machine() not in X86:
        return precision
    has = torch.cpu.get_capabilities()
    fast = has["amx_bf16"] or (has["avx512_bf16"] and not has["cpu_name"].startswith("Intel"))
    return precision if fast else "float32"


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Autocast to ``precision`` where it is ``native``, with the attention kernel that is fastest here.

    On CPUs the flash kernel's backward in bfloat16 takes longer than the whole rest of a small UNet.
    """
    with ExitStack() as stack:
        where = device().type
        stack.enter_context(torch.autocast(where, torch.bfloat16, enabled=native(precision) == "bfloat16"))
        if where == "cpu":
            stack.enter_context(sdpa_kernel([SDPBackend.MATH]))
        yield


def laid_out(network: torch.nn.Module) -> torch.nn.Module:
    """``network`` on the device, on a GPU in the memory layout that its convolutions like best.

    On CPUs that layout costs a UNet a quarter of its speed, by its group norms.
    """
    network.to(device())
    if device().type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def sent(tensor: torch.Tensor, where: torch.device) -> torch.Tensor:
    """A CPU's ``tensor`` on the device ``where``; what a GPU is at is not waited for, as a plain copy would."""
    if where.type != "cuda":
        return tensor.to(where)
    return tensor.pin_memory().to(where, non_blocking=True)


def seeded(*names: object) -> torch.Generator:
    """A CPU generator of its own for the item that ``names`` spell; draw on the CPU, then move."""
    return torch.Generator().manual_seed(seed_for(*names))
