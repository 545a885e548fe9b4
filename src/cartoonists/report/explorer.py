"""The explorer: one web page on which the samples follow the switch point and the strength.

The page holds all that it shows (Bokeh's JavaScript too), and asks no other address for anything.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

from bokeh.embed import json_item
from bokeh.resources import Resources

from cartoonists.report.explorer_data import Shown
from cartoonists.report.explorer_plots import plots

SCRIPTS = (
    "random.js", "chain.js", "mixture.js", "explorer.js", "explorer_path.js", "explorer_mixture.js",
)  # fmt: skip


def page(models: Mapping[str, Shown], record: Mapping[str, Any]) -> str:
    """The page as HTML, of models by name ``<data set>/<model>``.

    Raises ValueError where there is nothing to show.
    """
    if not models or not all(model.sweeps for model in models.values()):
        raise ValueError("explorer: a model without samples found, allowed: at least one sweep")
    return Template(web_file("explorer.html")).substitute(
        style=web_file("explorer.css"),
        script="\n".join(web_file(name) for name in SCRIPTS),
        bokeh=Resources("inline", components=["bokeh"]).render(),
        plots=_embedded({name: json_item(plot) for name, plot in plots().items()}),
        models=_embedded({name: asdict(model) for name, model in models.items()}),
        record=_embedded(dict(record)),
    )


def web_file(name: str) -> str:
    """The text of a part of a page, one of the files in ``report/web``."""
    return resources.files("cartoonists.report").joinpath("web", name).read_text("utf-8")


def _embedded(content: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content, default=str, separators=(",", ":")).replace("</", "<\\/")
