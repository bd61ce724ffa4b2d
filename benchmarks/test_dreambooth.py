"""DreamBooth's step beside that of diffusers' script."""

import pytest
from beside_script import SCRIPT_NAMED, compare
from fine_tuning import Run
from models import GPU, fitting

RUN = Run(40, 5, fitting(4), 5, 200) if GPU else Run(16, 5, 12, 5, 200)


@SCRIPT_NAMED
@pytest.mark.filterwarnings("ignore")
def test_dreambooth_against_diffusers_script(benchmark, base, tmp_path):
    compare(benchmark, base, RUN, tmp_path)


@SCRIPT_NAMED
@pytest.mark.skipif(not GPU, reason="steps are too few to compile for")
@pytest.mark.filterwarnings("ignore")
def test_compiled_dreambooth_against_diffusers_script(benchmark, base, tmp_path):
    compare(benchmark, base, RUN, tmp_path, compiled=True)
