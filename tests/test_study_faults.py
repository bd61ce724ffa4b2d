"""What may befall a run: kill -9 in every stage, another run beside it, a dvc.lock that is cut or overwritten."""

import os
import signal
import time
from contextlib import suppress
from random import Random

import psutil
import pytest
from through_dvc import FAILED, clone, digests, dvc, forget, killed, ran, stop_at

from raremix.runtime import checkpoints

pytestmark = pytest.mark.slow


def begun(process, log, but):
    """The stage that DVC has begun last, once it is none of ``but``; none if DVC ends before."""
    while process.poll() is None:
        names = [stage.split("@")[0] for stage in ran(log.read_text())]
        if names and names[-1] not in but:
            return names[-1]
        time.sleep(0.02)
    return None


def killed_below(process):
    """Kill the stage that DVC runs, and what that has started, as the kernel does when memory is short."""
    below = psutil.Process(process.pid).children(recursive=True)
    for one in below:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    return bool(below)


def stopped_at(process, log, sign):
    """Stop DVC at a ``sign`` of the stage that it has begun last; false, and it goes on, if that ended before."""
    stage = ran(log.read_text())[-1]

    def ended():
        return ran(log.read_text())[-1] != stage

    stop_at(process, lambda: sign() or ended())
    if ended():
        os.killpg(process.pid, signal.SIGCONT)
        return False
    return True


def stopped_once_saved(process, profile, log):
    if not stopped_at(process, log, lambda: list(profile.glob("scratch/*/grids/step00003.png"))):
        return False
    time.sleep(checkpoints.SECONDS_BETWEEN_SAVES)  # the clock goes on for a stopped process: a save is due
    os.killpg(process.pid, signal.SIGCONT)
    return stopped_at(process, log, lambda: list(profile.glob("scratch/*/state.pt")))


def killed_in(stage, process, profile, log, moment):
    """Kill ``stage``, which DVC has begun. What died: that one, perhaps the next, none if none ran at its ``moment``.

    Fine-tuning and synthesis die with DVC once there is a state to go on from, each other stage alone.
    """
    if stage == "dreambooth":
        died = stopped_once_saved(process, profile, log)
    elif stage == "synthesize":
        died = stopped_at(process, log, lambda: list(profile.glob("scratch/*/images")))
    else:
        time.sleep(moment)
        died = killed_below(process)
        if died:
            process.wait()
    return ran(log.read_text())[-1] if died else None


def kill_each_once(profile, folder, seconds):
    """Kill each stage once, at a random moment of its time, and run again, until DVC ends well.

    What was said, and by name which stages died. One that had ended by then runs once more, and is to die sooner.
    """
    random, left, died, said = Random(0), dict(seconds), {}, ""
    for attempt in range(4 * len(seconds)):
        log, missed = folder / f"{attempt}.log", set()
        with killed(profile, log) as process:
            while name := begun(process, log, died.keys() | missed):
                stage = killed_in(name, process, profile, log, random.uniform(0.1, 0.6) * left[name])
                if stage and stage.split("@")[0] == name:
                    died[name] = stage
                else:
                    missed.add(name)
                if stage:
                    break
        said += log.read_text()
        if process.returncode == 0 and not missed:
            return said, died
        for name in missed:
            forget(name, profile)
            left[name] /= 2
    pytest.fail(said[-4000:])


def test_killed_in_every_stage_a_second_directory_ends_with_the_same_bytes(finished, tmp_path):
    _, made, seconds = finished
    other = clone(tmp_path / "elsewhere" / "second")
    said, died = kill_each_once(other, tmp_path, seconds)
    assert died.keys() == seconds.keys()
    fine_tuning = died["dreambooth"]
    assert ran(said).count(fine_tuning) > 1
    again = said.split(f"Running stage '{fine_tuning}'")[-1]
    bar = f"dreambooth nodule_mass-{fine_tuning.partition('@')[2]}: "
    assert bar in again
    assert f"{bar}  0%" not in again, "it must go on where it was"
    assert ran(said).count(died["synthesize"]) > 1
    assert digests(other) == made
    assert not any((other / "scratch").iterdir()), "states must go when their stages are done"


def test_a_second_run_beside_the_first_is_refused_and_harms_nothing(study, tmp_path):
    before = digests(study)
    next((study / "data/images").iterdir()).unlink()
    log = tmp_path / "first.log"
    with killed(study, log) as first:
        stop_at(first, lambda: ran(log.read_text()))
        said = dvc("repro", study, FAILED)
        os.killpg(first.pid, signal.SIGCONT)
        assert first.wait() == 0, log.read_text()[-2000:]
    assert "it is being blocked by" in said
    assert f"(PID {first.pid})" in said
    assert "Traceback" not in said
    assert digests(study) == before


@pytest.mark.parametrize(("rest", "told"), [(b"", "dvc.lock' is invalid"), (b"\x00\xff", "is not valid utf-8")])
def test_a_lock_that_is_cut_within_a_word_or_overwritten_is_named_and_costs_nothing(study, rest, told):
    before, lock = digests(study), study / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: whole.index(b"md5:", len(whole) // 2) + 3] + rest)
    said = dvc("repro", study, FAILED)
    assert told in said
    assert "Traceback" not in said
    assert ran(said) == []
    lock.write_bytes(whole)
    assert ran(dvc("repro", study)) == []
    assert digests(study) == before
