"""A language model is asked over HTTP; whatever it answers, the key stays secret and the old list stays whole."""

import errno
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from raremix.diagnosis.discovered import LONGEST, Answer, check, read
from raremix.diagnosis.discovery import endpoint, prompt
from raremix.runtime.errors import UserError
from stages.cli import run
from stages.discover import discover

ROOT = Path(__file__).parents[1]
KEY = "sk-much-too-secret-to-be-shown"
FINDINGS = ["pleural_effusion", "nodule_mass"]
AP = {"attribute": "ap_view", "phrase": "AP  view", "reason": "The heart looks larger."}
TUBE = {"attribute": "tube", "phrase": "tube", "reason": "It is there because of an effusion."}
MALE = {"attribute": "male", "phrase": "male", "reason": "Breasts whiten the bases."}
GOOD = json.dumps({"attributes": [AP, TUBE]})


class Server(ThreadingHTTPServer):
    """It sends ``replies`` (status, headers, body), the last one for ever; "hang" sends nothing."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies, self.seen, self.over = [], [], threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Authorization"], json.loads(body)))
        reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        if reply == "hang":
            self.server.over.wait(20)
            return
        status, headers, text = reply
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(text), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Nothing: what a request said is in ``seen``."""


@pytest.fixture
def server():
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    yield serving
    serving.over.set()
    serving.shutdown()
    thread.join()
    serving.server_close()


def completion(content, finish="stop", **message):
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    told = {"id": "1", "object": "chat.completion", "created": 1, "model": "tester-7", "choices": [choice]}
    return 200, {}, json.dumps({**told, "usage": usage}).encode()


def failure(status, message, **headers):
    return status, headers, json.dumps({"error": {"message": message}}).encode()


@pytest.fixture
def asking(server, tmp_path, monkeypatch, capsys):
    """Ask for two attributes, with the command's flags: (exit code, stdout, stderr); the key is nowhere in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("RAREMIX_MODEL", "tester")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    asked = {"cache": "list.json", "domain": "chests", "task": "find {things}", "count": 2, "nonsense": ["a lamp"]}
    params["study"].update(findings=FINDINGS, minority=["nodule_mass"], synthesized=["nodule_mass"])
    Path("params.yaml").write_text(yaml.safe_dump({"study": params["study"], "attributes": {**asked, "reads": {}}}))

    def ask(*flags):
        code = 0
        try:
            run(discover, ["params.yaml", "--timeout=5", "--retries=1", *flags])
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        assert KEY not in told.out + told.err
        assert KEY not in "".join(file.read_text() for file in Path().iterdir())
        return code, told.out, told.err

    return ask


@pytest.fixture
def refused(asking):
    """Ask, as above: the one line on stderr; the list that was there stays, and nothing beside it."""
    Path("list.json").write_text("the old list")

    def ask(*flags):
        code, _, line = asking(*flags)
        assert code == 2
        assert line.count("\n") == 1
        assert line.startswith("stages.discover: ")
        assert Path("list.json").read_text() == "the old list"
        assert sorted(file.name for file in Path().iterdir()) == ["list.json", "params.yaml"]
        return line

    return ask


def test_an_answer_is_kept_with_its_question_and_its_cost_is_shown(asking, server):
    server.replies = [completion(GOOD)]
    code, told, _ = asking()
    assert code == 0
    assert "1000 tokens asked, 500 answered\n" in told
    ((path, authorization, body),) = server.seen
    assert path == "/v1/chat/completions"
    assert authorization == f"Bearer {KEY}"
    assert body == {"model": "tester", "messages": [{"role": "user", "content": prompt("chests", "find {things}", 2)}]}
    held = read(Path("list.json"), FINDINGS)
    assert [one.phrase for one in held.attributes] == ["ap view", "tube"]
    assert (held.domain, held.task, held.count, held.model) == ("chests", "find {things}", 2, "tester-7")
    assert held.prompt == body["messages"][0]["content"]
    assert f"127.0.0.1:{server.server_port}" in held.source
    assert "at these prices 0.0075\n" in asking("--prices=[2.5, 10]")[1]


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"Here you are:\n\n{GOOD}\nDo ask again."])
def test_text_around_the_json_is_passed_over(asking, server, text):
    server.replies = [completion(text)]
    assert asking()[0] == 0
    assert len(read(Path("list.json"), FINDINGS).attributes) == 2


def test_an_endpoint_may_tell_no_more_than_a_message(asking, server):
    server.replies = [(200, {}, json.dumps({"choices": [{"message": {"content": GOOD}}]}).encode())]
    code, told, _ = asking()
    assert code == 0
    assert "does not tell how many tokens" in told
    assert read(Path("list.json"), FINDINGS).model == "tester"


def test_a_rate_limit_is_waited_for(asking, server):
    server.replies = [failure(429, "slow down", **{"Retry-After": "0.01"}), completion(GOOD)]
    assert asking()[0] == 0
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (failure(429, "slow down", **{"Retry-After": "0.01"}), "replied 429 (slow down), after up to 1 retries"),
        (failure(503, "too busy", **{"Retry-After": "0.01"}), "replied 503 (too busy), after up to 1 retries"),
        (failure(401, f"no such key {KEY[:9]}***"), "refuses the key (401); set OPENAI_API_KEY"),
        (failure(404, f"no model\n for {KEY}"), "replied 404 (no model for ***), so see that RAREMIX_MODEL"),
        ((404, {"Content-Type": "text/html"}, b"<html>nothing here"), "replied 404 (<html>nothing here)"),
        ((200, {"Content-Type": "text/html"}, b"<html>welcome"), "is no chat completion (Invalid JSON"),
        ((200, {}, b'{"choices": []}'), "is no chat completion (choices: "),
        ((200, {}, b'{"error": "sorry"}'), "is no chat completion (choices: Field required)"),
        (completion(None, refusal="I can't help with that."), "of tester: it refuses (I can't help with that.)"),
        (completion("", "content_filter"), "of tester: it refuses (no word)"),
        (completion("I'm sorry, but no."), "of tester: holds no JSON (I'm sorry, but no.)"),
        (completion(GOOD[:40], "length"), "of tester: was cut short; lower attributes.count"),
        (completion('{"attributes": [,]}'), "of tester: Invalid JSON: "),
        (completion('{"attributes": "ap"}'), "of tester: attributes: Input should be a valid "),
        (completion(json.dumps({"attributes": [AP, {**TUBE, "reason": 1}]})), "attributes.1.reason: Input should be a"),
        (
            completion(json.dumps({"attributes": [AP, {**TUBE, "\x1b[2Jnote": ""}]})),
            "attributes.1. [2Jnote: Extra inputs",
        ),
        (completion(json.dumps({"attributes": [AP, TUBE, MALE]})), "of tester: holds 3 attributes; it must be 2 to 2"),
        (completion(GOOD.replace("tube", KEY)), "its reply repeats the key, so nothing of it is kept"),
    ],
)
def test_what_fails_is_one_line(refused, server, reply, line):
    server.replies = [reply]
    assert line in refused()


def test_an_endpoint_that_hangs_is_given_up(refused, server):
    server.replies = ["hang"]
    assert "no reply within 0.1 seconds after up to 0 retries" in refused("--timeout=0.1", "--retries=0")


def test_a_disk_that_fills_up_meanwhile_leaves_the_old_list(refused, server, monkeypatch):
    server.replies = [completion(GOOD)]

    def half(path, text, **_):
        path.write_bytes(text[:100].encode())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    assert "No space left on device" in refused()


def test_an_endpoint_that_is_not_there_is_named(refused, server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:password@127.0.0.1:9/v1")
    line = refused("--retries=0")
    assert "127.0.0.1:9: can not be reached" in line
    assert "password" not in line


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("OPENAI_API_KEY", "", "OPENAI_API_KEY: not set"),
        ("OPENAI_API_KEY", f"{KEY}\nx", "OPENAI_API_KEY: holds a space or a character that no key has"),
        ("OPENAI_API_KEY", f"{KEY}é", "OPENAI_API_KEY: holds a space or a character that no key has"),
        ("RAREMIX_MODEL", " ", "RAREMIX_MODEL: not set"),
        ("OPENAI_BASE_URL", "localhost:11434/v1", "OPENAI_BASE_URL: is no address"),
        ("OPENAI_BASE_URL", "http://localhost:port/v1", "OPENAI_BASE_URL: is no address"),
    ],
)
def test_a_variable_that_is_not_right_is_named_before_anyone_is_asked(refused, server, monkeypatch, name, value, line):
    monkeypatch.setenv(name, value)
    assert line in refused()
    assert not server.seen


def test_the_clients_own_log_does_not_hold_the_key(asking, server):
    server.replies = [failure(404, "no model")]
    environment = {**os.environ, "OPENAI_LOG": "debug", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.discover", "params.yaml", "--retries=0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "HTTP Response" in done.stderr
    assert "no model" in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_an_endpoint_shows_its_key_to_nobody():
    told = endpoint({"OPENAI_API_KEY": f" {KEY}\n", "RAREMIX_MODEL": "tester"}, 1, 0)
    assert told.key == KEY
    assert told.host == "api.openai.com"
    assert KEY not in repr(told)


@pytest.mark.parametrize(
    ("second", "line"),
    [
        ({**TUBE, "attribute": "ap_view"}, r"attribute 2: 'ap_view' \('tube'\) is attribute 1 again"),
        ({**TUBE, "phrase": " ap VIEW"}, r"attribute 2: 'tube' \('ap view'\) is attribute 1 again"),
        ({**TUBE, "attribute": "Chest tube"}, "attribute 2: 'Chest tube' is no name"),
        ({**TUBE, "attribute": "12"}, "attribute 2: '12' is no name"),
        ({**TUBE, "phrase": ""}, "attribute 2: '' is no phrase"),
        ({**TUBE, "phrase": "12 - 3"}, "attribute 2: '12 - 3' is no phrase"),
        ({**TUBE, "phrase": "a\u200btube"}, "is no phrase"),
        ({**TUBE, "phrase": "<lung_opacity>"}, "is no phrase"),
        ({**TUBE, "phrase": "t" * (LONGEST + 1)}, f"up to {LONGEST} characters"),
        ({**TUBE, "reason": " "}, "attribute 2: its reason must be one line"),
        ({**TUBE, "reason": "\x1b[2J"}, "attribute 2: its reason must be one line"),
        ({**TUBE, "attribute": "pleural_effusion"}, "'pleural_effusion' names the finding 'pleural_effusion'"),
        ({**TUBE, "phrase": "Nodule or mass"}, "'nodule or mass' names the finding 'nodule_mass'"),
    ],
)
def test_what_no_list_may_hold_is_named(second, line):
    entries = Answer.model_validate({"attributes": [AP, second]}).attributes
    with pytest.raises(UserError, match=line):
        check(entries, 5, FINDINGS, "the list")


def test_one_attribute_is_no_list():
    with pytest.raises(UserError, match="the list: holds 1 attributes; it must be 2 to 5"):
        check(Answer.model_validate({"attributes": [AP]}).attributes, 5, FINDINGS, "the list")
