import json

from finished import write

from stages.result import main


def test_the_benchmarks_block_has_the_latest_of_each_machine(tmp_path, monkeypatch):
    write(tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)

    def keep(file, day, ratio, gpu):
        made = {"date": day, "commit": "0123456789", "hardware": {"cpu": "EPYC", "cores": 2, "gpu": gpu}}
        measured = {"name": "test_ingest_against_it", "extra_info": {"times_as_fast": ratio}, "stats": {"min": 0.5}}
        written = {"datetime": f"{day}T10:00:00", "machine_info": {"raremix": made}, "benchmarks": [measured]}
        (tmp_path / "benchmarks" / "results" / file).write_text(json.dumps(written))

    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    keep("a.json", "2026-11-22", 1.25, None)
    keep("b.json", "2026-11-20", 9.0, None)
    keep("c.json", "2026-11-21", 3.0, "H200")
    (tmp_path / "study.md").write_text("<!-- benchmarks -->\n<!-- /benchmarks -->\n")
    assert main(["--pages", "study.md"]) == 0
    assert (tmp_path / "study.md").read_text().splitlines()[3:-1] == [
        "| ingest against it | 1.25 | 0.50 | EPYC, 2 cores | 2026-11-22 | 0123456 |",
        "| ingest against it | 3.00 | 0.50 | H200 | 2026-11-21 | 0123456 |",
    ]
