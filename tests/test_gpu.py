"""A GPU that torch can't use is told before anything is computed on the CPU in its place."""

import pytest
import torch

from raremix.runtime import gpu
from raremix.runtime.errors import UserError


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """``machine(driver, capability)``: with a loaded driver or not, and a GPU of that capability or none."""
    monkeypatch.delenv(gpu.HIDDEN)

    def with_(driver, capability):
        monkeypatch.setattr(gpu, "DRIVER", tmp_path / "version")
        if driver:
            gpu.DRIVER.write_text("NVRM version: 535\n")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_86", "sm_100a", "compute_90"])

    return with_


def test_a_machine_without_a_gpu_is_none_of_its_business(machine):
    machine(driver=False, capability=None)
    gpu.check_gpu()


def test_a_driver_that_torch_finds_no_gpu_by_is_named(machine, monkeypatch):
    machine(driver=True, capability=None)
    with pytest.raises(
        UserError, match=r"finds no GPU it can use: .*; mend that, or say `export CUDA_VISIBLE_DEVICES=`"
    ):
        gpu.check_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv(gpu.HIDDEN, hidden)
        gpu.check_gpu()


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_a_gpu_that_torch_was_built_for_passes(machine, capability):
    machine(driver=True, capability=capability)
    gpu.check_gpu()


@pytest.mark.parametrize("capability", [(6, 1), (7, 0)])
def test_a_gpu_that_torch_was_not_built_for_is_named(machine, capability):
    machine(driver=True, capability=capability)
    told = rf"not built for Tesla V100 \(capability {capability[0]}\.{capability[1]}\), but for sm_75, sm_80"
    with pytest.raises(UserError, match=told):
        gpu.check_gpu()
