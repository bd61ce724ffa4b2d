"""Where the run came from."""

import yaml

from raremix.report.blocks import Fold, Listing, Section, Table, Text
from raremix.report.cells import word, words
from raremix.report.inputs import Inputs
from raremix.runtime.files import sha256
from raremix.runtime.provenance import hardware, versions


def provenance(inputs: Inputs) -> Section:
    """What the run was made from. Not its commit: this page is a cached output, which no commit may change."""
    ingested, study = inputs.figures("ingest/summary.json"), inputs.params["study"]
    facts: dict[str, str] = {
        "layout of the data": str(inputs.params["data"]["layout"]),
        **{name: _plain(ingested[name]) for name in ("images", "patients", "quarantined") if name in ingested},
        **{
            words(name): ", ".join(map(str, study[name]))
            for name in ("findings", "minority", "arms", "shots", "trials")
        },
        **{f"SHA-256, {name}": sha256(path) for name, path in inputs.lists.items() if path.is_file()},
        **{name: "none" if value is None else str(value) for name, value in hardware().items()},
        **versions(),
    }
    table = Table("The run", ["fact", "value"], [[word(name), word(value)] for name, value in facts.items()])
    note = (
        "What decides the figures is in params.yaml and in the code, whose hashes are in dvc.lock: in the repository, "
        "git log dvc.lock tells the commit, and a profile's metrics/provenance.json does. Hardware and versions are "
        "those that wrote this page; what a stage took from a shared cache may be another machine's."
    )
    params = {name: _without_root(section) for name, section in inputs.params.items()}
    text = yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=100)
    fold = Fold("params.yaml (but for the data's folder)", [Listing(text)])
    return Section("Provenance", [table, Text(note), fold])


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _without_root(section: object) -> object:
    """A section of the params, but for ``data.root``: a folder's name may tell whose machine it was."""
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if key != "root"}
