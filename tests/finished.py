"""Metrics of a finished run, as compare leaves them."""

import json

MIX = "dreambooth_mix"
ARMS = {"vanilla": 0.21, MIX: 0.34}
RUN = {"date": "2026-11-22", "commit": "0123456789abcdef"}


def figure(mean):
    return {"auroc": {"mean": mean + 0.4, "sd": 0.02, "n": 3}, "ap": {"mean": mean, "sd": 0.01, "n": 3}}


def write(metrics, arms=None, shots="10"):
    (metrics / "compare").mkdir(parents=True, exist_ok=True)
    summary = {shots: {arm: dict.fromkeys(("macro", "minority"), figure(ap)) for arm, ap in (arms or ARMS).items()}}
    answer = {"shots": 10, "trials": 3, "arm": "dreambooth_mix", "sentence": "dreambooth_mix improves on vanilla."}
    (metrics / "compare" / "summary.json").write_text(json.dumps(summary))
    (metrics / "compare" / "answer.json").write_text(json.dumps(answer))
    (metrics / "provenance.json").write_text(json.dumps(RUN))
