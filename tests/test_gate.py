import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).parent.parent / ".ci" / "gate.py"
PIPELINE = """\
stages:
  list:
    cmd: cp listed.py list.txt
    deps: [listed.py]
    outs: [list.txt]
  follow:
    cmd: cp list.txt followed.txt
    deps: [list.txt]
    outs: [followed.txt]
  make:
    cmd: {python} make.py
    deps: [make.py]
    params: [make]
    outs: [data]
  measure:
    cmd: {python} measure.py
    deps: [measure.py, data]
    outs:
      - metrics/measure: {{cache: false}}
  note:
    cmd: {python} note.py
    deps: [note.py]
    outs:
      - metrics/note.json: {{cache: false}}
"""
MAKE = "import pathlib, yaml\nn = yaml.safe_load(open('params.yaml'))['make']['n']\np = pathlib.Path('data')\n"
MAKE += "p.mkdir(exist_ok=True)\n(p / 'x.txt').write_text('x' * n)\n"
MEASURE = "import pathlib\nn = len(pathlib.Path('data/x.txt').read_text())\np = pathlib.Path('metrics/measure')\n"
MEASURE += (
    "(p / 'sub').mkdir(parents=True)\n(p / 'a.json').write_text(f'{{\"n\": {n}}}')\n(p / 'sub/b.csv').write_text('b')\n"
)
NOTE = "import pathlib\npathlib.Path('metrics/note.json').write_text('{\"k\": 1}')\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    quiet = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home / "site"), "HOME": str(home)}
    return {**os.environ, **identity, **quiet}


@pytest.fixture(scope="module")
def origin(tmp_path_factory, environment):
    """A committed study of three stages that ran: one's inputs are all in git, two have uncached outputs."""
    root = tmp_path_factory.mktemp("origin")
    files = {
        "dvc.yaml": PIPELINE.format(python=sys.executable),
        "make.py": MAKE,
        "measure.py": MEASURE,
        "note.py": NOTE,
    }
    files |= {"params.yaml": "make:\n  n: 3\n", ".gitignore": "/data\n/*.txt\n", "listed.py": "1\n"}
    for name, text in files.items():
        (root / name).write_text(text)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], [*DVC, "repro", "-q"]):
        subprocess.run(command, cwd=root, env=environment, check=True)
    commit(root, environment)
    return root


DVC = [sys.executable, "-m", "dvc"]


def commit(root, environment):
    for command in (["add", "-A"], ["commit", "-qm", "change"]):
        subprocess.run(["git", *command], cwd=root, env=environment, check=True)


@pytest.fixture
def clone(origin, tmp_path, environment):
    """A fresh clone: no cache, no data, only what git has."""
    subprocess.run(["git", "clone", "-q", str(origin), str(tmp_path / "clone")], env=environment, check=True)
    assert not (tmp_path / "clone" / "data").exists()
    return tmp_path / "clone"


@pytest.fixture
def gate(clone, environment):
    def passes():
        done = subprocess.run([sys.executable, str(GATE)], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode == 0, done.stdout + done.stderr

    return passes


def excuse(clone, environment, text=None):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True).stdout.strip()
    (clone / "metrics" / "STALE.md").write_text(text or f"The measure is being rewritten, since {head[:10]}.\n")
    subprocess.run(["git", "add", "-A"], cwd=clone, env=environment, check=True)


def forget(clone, environment):
    command = [sys.executable, "-m", "stages.forget"]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def test_a_fresh_clone_of_a_finished_study_passes_silently(gate):
    assert gate() == (True, "")


def test_a_changed_stage_whose_inputs_are_all_in_git_is_caught(clone, gate):
    (clone / "make.py").write_text(MAKE + "# changed\n")
    passed, said = gate()
    assert not passed
    assert "make" in said
    assert "stale" in said


def test_what_follows_is_caught_where_only_the_list_of_its_code_was_made_anew(clone, gate, environment):
    """The list of code is a stage of its own, of seconds: who runs that alone has not run what it stands for."""
    (clone / "listed.py").write_text("2\n")
    subprocess.run([*DVC, "repro", "-q", "--single-item", "list"], cwd=clone, env=environment, check=True)
    (clone / "list.txt").unlink()
    passed, said = gate()
    assert not passed
    assert "follow would run" in said


def test_a_changed_parameter_is_caught_and_an_excuse_lets_it_through_loudly(clone, gate, environment):
    (clone / "params.yaml").write_text("make:\n  n: 4\n")
    assert not gate()[0]
    excuse(clone, environment)
    passed, said = gate()
    assert passed
    assert "!!!!" in said
    assert "being rewritten" in said


def test_a_changed_stage_that_needs_absent_data_is_caught(clone, gate):
    (clone / "measure.py").write_text(MEASURE + "# changed\n")
    passed, said = gate()
    assert not passed
    assert "stale" in said


@pytest.mark.parametrize("path", ["metrics/measure/sub/b.csv", "metrics/note.json"])
def test_an_edited_metrics_file_is_caught_excuse_or_not(clone, gate, environment, path):
    (clone / path).write_text("edited")
    passed, said = gate()
    assert not passed
    assert "edited" in said
    assert path.removesuffix("/sub/b.csv") in said
    excuse(clone, environment)
    assert not gate()[0]


def test_a_deleted_metrics_file_is_caught(clone, gate):
    (clone / "metrics" / "note.json").unlink()
    passed, said = gate()
    assert not passed
    assert "metrics/note.json: is deleted" in said


def test_a_file_deleted_from_or_added_to_a_metrics_directory_is_caught(clone, gate):
    (clone / "metrics" / "measure" / "a.json").rename(clone / "metrics" / "measure" / "c.json")
    assert not gate()[0]


def test_a_metrics_file_that_no_stage_writes_is_caught(clone, gate, environment):
    (clone / "metrics" / "by_hand.json").write_text('{"auroc": 0.99}')
    subprocess.run(["git", "add", "metrics/by_hand.json"], cwd=clone, env=environment, check=True)
    passed, said = gate()
    assert not passed
    assert "metrics/by_hand.json: belongs to no stage's output" in said


def test_metrics_that_no_recorded_run_wrote_never_pass(clone, gate, environment):
    lock = clone / "dvc.lock"
    text = lock.read_text()
    lock.write_text(text[: text.index("  note:")])
    excuse(clone, environment)
    passed, said = gate()
    assert not passed
    assert "no run that dvc.lock records wrote it" in said


def test_a_fresh_project_without_a_lock_needs_the_excuse(clone, gate, environment):
    subprocess.run(["git", "rm", "-rqf", "dvc.lock", "metrics"], cwd=clone, env=environment, check=True)
    assert not gate()[0]
    (clone / "metrics").mkdir(exist_ok=True)
    excuse(clone, environment)
    passed, said = gate()
    assert passed
    assert "OLDER" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The measure is being rewritten, since 0123456789.\n", "names no commit"),
        ("The measure is being rewritten.\n", "names no commit"),
        (None, "not tracked"),
    ],
)
def test_an_excuse_must_be_tracked_and_name_a_commit(clone, gate, environment, text, message):
    (clone / "params.yaml").write_text("make:\n  n: 4\n")
    excuse(clone, environment, text)
    if text is None:
        subprocess.run(["git", "rm", "-q", "--cached", "metrics/STALE.md"], cwd=clone, env=environment, check=True)
    passed, said = gate()
    assert not passed
    assert message in said


@pytest.mark.parametrize("excused", [False, True])
def test_an_entry_of_a_stage_that_is_gone_is_caught_and_forgotten(clone, gate, environment, excused):
    if excused:
        excuse(clone, environment)
    pipeline, note = (clone / "dvc.yaml").read_text(), PIPELINE[PIPELINE.index("  note:") :]
    (clone / "dvc.yaml").write_text(pipeline.replace(note.format(python=sys.executable), ""))
    subprocess.run(["git", "rm", "-q", "metrics/note.json"], cwd=clone, env=environment, check=True)
    commit(clone, environment)
    passes, told = gate()
    assert not passes
    assert "gate: dvc.lock: of 1 entries dvc.yaml has no stage, as of note; run: python -m stages.forget" in told
    before = (clone / "dvc.lock").read_text()
    forgotten = forget(clone, environment)
    assert (forgotten.returncode, forgotten.stdout) == (0, "1 entries taken out of dvc.lock\n")
    left = (clone / "dvc.lock").read_text()
    entry = before[before.index("  note:") :]
    entry = entry[: re.search(r"\n  \w|\Z", entry).start() + 1]
    assert left == before.replace(entry, "")  # what is alive is as it was, to the byte
    assert gate()[0]
    assert forget(clone, environment).stdout == "dvc.lock has no entry of a stage that there is not\n"


def test_a_lock_that_is_not_whole_is_left_as_it_is(clone, environment):
    (clone / "dvc.lock").write_text("stages: [\n")
    told = forget(clone, environment)
    assert told.returncode == 2
    assert re.fullmatch(
        r"stages.forget: unable to read: '.*dvc.lock', YAML file structure is corrupted.*\n", told.stderr
    )
    assert (clone / "dvc.lock").read_text() == "stages: [\n"


def test_a_broken_pipeline_is_no_stale_one(clone, gate, environment):
    (clone / "dvc.yaml").write_text("stages: {make: {nonsense: 1}}\n")
    excuse(clone, environment)
    passed, said = gate()
    assert not passed
    assert "dvc.yaml" in said
