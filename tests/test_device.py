"""Which device computes, on how many cores and in which precision."""

import os
import platform
from contextvars import ContextVar

import pytest
import torch

from raremix.runtime.device import arithmetic, device, laid_out, native, one_core, sent


@pytest.fixture
def on_a_cpu(monkeypatch):
    """As in a process of its own, to which no test's ``one_core`` applies."""
    with monkeypatch.context() as once:
        once.setattr(torch.cuda, "is_available", lambda: False)
        once.setattr("raremix.runtime.device._most", ContextVar("most", default=None))
        yield
    device()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_cpu_is_used_with_the_cores_this_process_may_use(on_a_cpu, monkeypatch):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    try:
        assert device().type == "cpu"
        assert torch.get_num_threads() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_one_core_is_for_the_block_alone(on_a_cpu, monkeypatch):
    monkeypatch.setattr("raremix.runtime.device.cores", lambda: 2)
    with one_core():
        device()
        assert torch.get_num_threads() == 1
    device()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("name", "amx", "avx", "kind"),
    [
        ("Intel Xeon", True, True, torch.bfloat16),
        ("Intel Xeon", False, True, torch.float32),
        ("Intel Xeon", False, False, torch.float32),
        ("AMD EPYC", False, True, torch.bfloat16),
        ("AMD EPYC", False, False, torch.float32),
    ],
)
def test_precision_is_what_was_asked_for_where_the_cpu_is_faster_in_it(monkeypatch, name, amx, avx, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    has = torch.cpu.get_capabilities() | {"cpu_name": name, "amx_bf16": amx, "avx512_bf16": avx}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    layer, x = torch.nn.Linear(4, 4), torch.randn(2, 4)
    with arithmetic("bfloat16"):
        assert layer(x).dtype == kind
    with arithmetic("float32"):
        assert layer(x).dtype == torch.float32


def test_processors_of_another_kind_are_taken_at_their_word(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert native("bfloat16") == "bfloat16"


@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_multiplies_in_bfloat16_where_it_has_units_for_that(monkeypatch, has):
    def supported(including_emulation):
        return has or including_emulation

    monkeypatch.setattr("raremix.runtime.device.device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert native("bfloat16") == ("bfloat16" if has else "float32")
    assert native("float32") == "float32"


def test_networks_are_laid_out_for_a_gpu(monkeypatch):
    layer, moved = torch.nn.Conv2d(3, 4, 3), []
    with monkeypatch.context() as patch:
        patch.setattr("raremix.runtime.device.device", lambda: torch.device("cuda"))
        patch.setattr(layer, "to", lambda *where, **how: moved.append((where, how)))
        assert laid_out(layer) is layer
    assert moved == [((torch.device("cuda"),), {}), ((), {"memory_format": torch.channels_last})]
    assert not laid_out(layer).weight.is_contiguous(memory_format=torch.channels_last)


class Recorded:
    """In place of a tensor on a machine with a GPU."""

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pinned")
        return self

    def to(self, where, non_blocking=False):
        self.asked.append((where.type, non_blocking))
        return self


def test_what_is_sent_to_a_gpu_leaves_from_pinned_memory_and_is_not_waited_for():
    assert sent(Recorded(), torch.device("cuda")).asked == ["pinned", ("cuda", True)]
    assert sent(Recorded(), torch.device("cpu")).asked == [("cpu", False)]
