"""Fixtures that several tests share."""

import pytest

from raremix.runtime import checkpoints


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Every test has a scratch directory of its own."""
    monkeypatch.setattr(checkpoints, "SCRATCH", tmp_path / "scratch")
