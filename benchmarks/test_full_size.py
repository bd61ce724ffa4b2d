"""DreamBooth of Stable Diffusion v1.4's sizes without a GPU, a few steps of it: minutes each.

With gradient checkpointing, which spares memory. On a GPU the other benchmarks have these sizes.
"""

import memory
import psutil
import pytest
import roofline
from beside_script import SCRIPT_NAMED, compare
from fine_tuning import Run
from models import GPU

GIGABYTES = 20
RUN, SAVING = Run(5, 1, 1, 1, 2), {"gradient_checkpointing": True, "encoded_views": 1}

pytestmark = [
    pytest.mark.skipif(GPU, reason="the others are of this size"),
    pytest.mark.skipif(psutil.virtual_memory().available < GIGABYTES * 1e9, reason=f"takes {GIGABYTES} GB"),
]


@SCRIPT_NAMED
@pytest.mark.filterwarnings("ignore")
def test_dreambooth_of_full_size_against_diffusers_script(benchmark, full_size, tmp_path):
    compare(benchmark, full_size, RUN, tmp_path, ["--gradient_checkpointing"], **SAVING)


def test_roofline_of_dreambooth_of_full_size(benchmark, full_size):
    roofline.of_dreambooth(benchmark, full_size, RUN, **SAVING)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_memory_of_dreambooth_of_full_size(benchmark, full_size, tmp_path, monkeypatch, optimizer):
    monkeypatch.chdir(tmp_path)
    memory.of_dreambooth(benchmark, full_size, RUN, **SAVING, optimizer=optimizer)
