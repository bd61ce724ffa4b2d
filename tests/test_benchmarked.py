import json

from finished import write

from stages.result import main

STEP = {
    "precision": "bfloat16",
    "operations": 32_000_000_000,
    "bytes": 198_000_000,
    "operations_a_second": 2e11,
    "bytes_a_second": 2.05e10,
    "floor": 0.16,
    "seconds_a_step": 0.4,
    "utilisation": 0.4,
}
QUALITY = {
    "images": 500,
    "steps": 25,
    "kid": {"ours": [0.0123, 0.001], "theirs": [0.012, 0.001], "real": [0.0001, 0.0002]},
    "difference": [0.0003, 0.0005],
}


def test_the_benchmarks_block_has_the_latest_of_each_machine(tmp_path, monkeypatch):
    write(tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)

    def keep(file, day, ratio, gpu, flags=()):
        made = {"date": day, "commit": "0123456789", "hardware": {"cpu": "EPYC", "cores": 2, "gpu": gpu}}
        measured = [
            {"name": "test_ingest_against_it", "extra_info": {"times_as_fast": ratio}, "stats": {"min": 0.5}},
            {"name": "test_roofline_of_it", "extra_info": STEP, "stats": {"min": 9.0}},
            {"name": "test_quality_of_it", "extra_info": QUALITY, "stats": {}},
            {"name": "test_memory_of_it", "extra_info": {"peak_gigabytes": 1.5, "precision": "float32"}, "stats": {}},
        ]
        written = {"datetime": f"{day}T10:00:00", "machine_info": {"raremix": made, "cpu": {"flags": flags}}}
        written["benchmarks"] = measured
        (tmp_path / "benchmarks" / "results" / file).write_text(json.dumps(written))

    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    keep("a.json", "2026-11-22", 1.25, None)
    keep("b.json", "2026-11-20", 9.0, None)
    keep("c.json", "2026-11-21", 3.0, "H200")
    keep("d.json", "2026-11-19", 2.0, None, ["avx512_bf16", "amx_bf16"])
    keep("e.json", "2026-11-18", 1.5, None, ["avx512_bf16"])
    blocks = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("benchmarks", "roofline", "memory", "quality"))
    (tmp_path / "study.md").write_text(blocks)
    assert main(["--pages", "study.md"]) == 0
    told = (tmp_path / "study.md").read_text()
    assert (
        "| roofline of it | bfloat16 | 32 | 198 | 200 | 20.5 | 0.16 | 0.4 | 40% | H200 | 2026-11-21 | 0123456 |\n"
        in told
    )
    drawn, gap = "0.0123 ± 0.0010 | 0.0120 ± 0.0010 | 0.0001 ± 0.0002", "+0.0003 [-0.0002, +0.0008]"
    assert f"| quality of it | 500 | 25 | {drawn} | {gap} | H200 |" in told
    assert "| memory of it | float32 | 1.50 | EPYC, 2 cores | 2026-11-22 | 0123456 |\n" in told
    assert told.splitlines()[3:7] == [
        "| ingest against it | 2.00 | 0.50 | EPYC with AMX, 2 cores | 2026-11-19 | 0123456 |",
        "| ingest against it | 1.50 | 0.50 | EPYC with AVX512-BF16, 2 cores | 2026-11-18 | 0123456 |",
        "| ingest against it | 1.25 | 0.50 | EPYC, 2 cores | 2026-11-22 | 0123456 |",
        "| ingest against it | 3.00 | 0.50 | H200 | 2026-11-21 | 0123456 |",
    ]
