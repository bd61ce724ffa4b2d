"""Fixtures that several tests share."""

from contextlib import contextmanager

import pytest

from raremix.runtime import checkpoints


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Every test has a scratch directory of its own."""
    monkeypatch.setattr(checkpoints, "SCRATCH", tmp_path / "scratch")


@pytest.fixture
def killed_after(monkeypatch):
    """``with killed_after(step):`` saves after every step and presses Ctrl-C once ``step`` is saved."""

    @contextmanager
    def killing(last):
        save = checkpoints.Checkpoint.save

        def dies(self, step, **parts):
            save(self, step, **parts)
            if step == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as once:
            once.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
            once.setattr(checkpoints, "SHARE_OF_TIME", float("inf"))
            once.setattr(checkpoints.Checkpoint, "save", dies)
            yield

    return killing
