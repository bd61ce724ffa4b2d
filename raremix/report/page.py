"""The page: its sections in their order, each built from what the run left, and the HTML around them."""

import importlib.resources
import json
from collections.abc import Callable
from typing import Any

import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from raremix.report import result
from raremix.report.audits import audits
from raremix.report.blocks import Section
from raremix.report.card import model_card
from raremix.report.curves import curves
from raremix.report.decisions import decisions
from raremix.report.diagnosis import diagnosis
from raremix.report.fidelity import fidelity
from raremix.report.inputs import Inputs
from raremix.report.materials import mix, samples, split
from raremix.report.provenance import provenance

# Outlines of the legend's shapes, as Vega draws them.
SHAPES = {
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
    "square": "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "triangle-up": "M0 -5L5.5 4.5H-5.5Z",
    "diamond": "M0 -6L5 0L0 6L-5 0Z",
    "cross": "M-2 -5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z",
}

Builder = Callable[[Inputs], Section | None]  # None: this run has nothing to say on it

# In the page's order. What else a run may tell is one more function that makes a Section of what it finds in metrics/.
SECTIONS: tuple[Builder, ...] = (
    result.answer,
    result.arms,
    result.differences,
    result.more_shots,
    result.ratios,
    curves,
    decisions,
    samples,
    split,
    mix,
    audits,
    fidelity,
    diagnosis,
    model_card,
    provenance,
)


def page(inputs: Inputs) -> str:
    """The whole page as HTML that asks nothing of any network."""
    sections = [section for section in (build(inputs) for build in SECTIONS) if section]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"vega": _vega, "breakable": _breakable}
    template = environment.from_string(_file("page.html"))
    return template.render(
        sections=sections,
        layout=inputs.params["data"]["layout"],
        shots=inputs.shots,
        trials=len(inputs.trials),
        shapes=SHAPES,
        style=Markup(_file("style.css")),
        script=Markup(_file("script.js")),
        library=Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")),
        version=vl_convert.get_vega_version(),
    )


def _vega(spec: dict[str, Any]) -> Markup:
    """A Vega-Lite chart as a Vega specification: compiled here, a mistake in it stops the stage and not the reader."""
    text = json.dumps(vl_convert.vegalite_to_vega(spec), separators=(",", ":"), sort_keys=True)
    return Markup(text.replace("<", "\\u003c"))


def _breakable(text: str) -> Markup:
    """A name such as ``dreambooth_balanced``, which may go on in another line after an underscore."""
    return Markup("_<wbr>").join(map(escape, text.split("_")))


def _file(name: str) -> str:
    return importlib.resources.files("raremix.report").joinpath(name).read_text(encoding="utf-8")
