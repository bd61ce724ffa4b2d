import json
import subprocess

import pytest
import torch

from stages.provenance import main

IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@example.org"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text("one\n")
    (tmp_path / "params.yaml").write_text("base: {steps: 3}\ndata: {root: /home/somebody}\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *IDENTITY, *command], check=True)
    return tmp_path


def test_metrics_tell_commit_hardware_and_versions(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert main(["metrics/provenance.json"]) == 0
    told = json.loads((repository / "metrics/provenance.json").read_text())
    assert (told["commit"], told["changed"]) == (head, [])
    assert told["params"] == {"base": {"steps": 3}}
    assert told["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert told["hardware"]["cores"] >= 1
    assert (told["hardware"]["gpu"] is None) == (not torch.cuda.is_available())
    (repository / "code.py").write_text("two\n")
    main(["metrics/provenance.json"])
    assert json.loads((repository / "metrics/provenance.json").read_text())["changed"] == ["code.py"]


def test_outside_of_a_repository_or_profile_it_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for reason in ("params.yaml: no such params file", "no commit to name (fatal: not a git repository"):
        assert main(["provenance.json"]) == 2
        told = capsys.readouterr().err
        assert reason in told
        assert told.count("\n") == 1
        assert not (tmp_path / "provenance.json").exists()
        (tmp_path / "params.yaml").write_text("base: {}\n")
