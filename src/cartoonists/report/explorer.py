"""The explorer: one web page on which the samples follow the switch point and the strength.

The page is made from tables and images that experiments left, holds all that it shows (Bokeh's
JavaScript too), and asks no other address for anything.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.models import BasicTickFormatter, ColumnDataSource, CustomJS, HoverTool, TapTool
from bokeh.models.annotations import Span
from bokeh.plotting import figure
from bokeh.resources import Resources

from cartoonists.images.pictures import radial_power_spectrum, to_picture

GREY, BLUE, ORANGE = "#949494", "#0173b2", "#d55e00"  # told apart by colour-blind readers too
TOOLTIP = [("seed", "@seed"), ("sample", "@setting")]
DIGITS = 5


@dataclass(frozen=True)
class Sweep:
    """Samples of the same seeds at every setting of one control, in the order of the slider.

    ``log_density`` (nats/dim) and ``png_bytes`` are ``[settings][seeds]``, ``images`` PNG files as
    data addresses likewise, ``spectra`` ``[settings][seeds][frequencies]``; ``reference`` is the
    setting that the others are held against.
    """

    control: str
    settings: list[str]
    reference: int
    seeds: list[int]
    log_density: list[list[float]]
    png_bytes: list[list[int]]
    images: list[list[str]]
    frequencies: list[float]
    spectra: list[list[list[float]]]


def high_density_sweep(arrays: Mapping[str, np.ndarray], table: pd.DataFrame) -> Sweep:
    """High-density samples by switch point, rising, and the ordinary ones as the last setting.

    ``arrays`` holds ``images [k + 1, n, c, h, w]`` (ordinary first), ``seeds`` and
    ``switch_logsnr``; ``table`` is high_density.csv.
    """
    switches, seeds = arrays["switch_logsnr"], arrays["seeds"]
    keyed = _per_dim(table.assign(setting=table["switch_logsnr"].fillna(np.inf).round(6)))
    order = [*(round(float(s), 6) for s in switches), np.inf]
    names = [*(f"λ = {s:.3g}" for s in switches), "ordinary"]
    images = np.concatenate([arrays["images"][1:], arrays["images"][:1]])
    return _sweep("Switch point", names, len(switches), seeds, images, keyed, order)


def guidance_sweep(arrays: Mapping[str, np.ndarray], table: pd.DataFrame) -> Sweep:
    """Samples of density guidance by strength, rising; the reference is strength 0.

    ``arrays`` holds ``images [k, n, c, h, w]`` and ``strengths``; ``table`` is control.csv.
    """
    strengths = [round(float(z), 6) for z in arrays["strengths"]]
    guided = table[table["control"] == "guidance"]
    keyed = _per_dim(guided.assign(setting=guided["strength"].round(6)))
    seeds = guided["seed"].unique()[: arrays["images"].shape[1]]
    names = [f"z = {z:g}" for z in strengths]
    plain = strengths.index(0.0)
    return _sweep("Strength", names, plain, seeds, arrays["images"], keyed, strengths)


def _per_dim(table: pd.DataFrame) -> pd.Series:
    values = table["log_density_nats"] / table["dimensions"]
    return values.set_axis(pd.MultiIndex.from_frame(table[["setting", "seed"]]))


def _sweep(control, names, reference, seeds, images, log_density, order) -> Sweep:
    files = [[_png(image) for image in row] for row in images]
    frequencies, power = radial_power_spectrum(images.reshape(-1, *images.shape[2:]))
    spectra = power.reshape(*images.shape[:2], -1)
    return Sweep(
        control=control,
        settings=names,
        reference=reference,
        seeds=[int(seed) for seed in seeds],
        log_density=[[round(float(log_density[s, i]), DIGITS) for i in seeds] for s in order],
        png_bytes=[[len(file) for file in row] for row in files],
        images=[[_address(file) for file in row] for row in files],
        frequencies=[round(float(f), DIGITS) for f in frequencies],
        spectra=[[[float(f"{p:.4g}") for p in sample] for sample in row] for row in spectra],
    )


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    to_picture(image).save(stream, "PNG", optimize=True)  # the size that `codec_sizes` counts
    return stream.getvalue()


def _address(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()


def page(models: Mapping[str, Sequence[Sweep]], record: Mapping[str, Any]) -> str:
    """The page as HTML: ``models`` by name ``<data set>/<model>``, each with its sweeps.

    Raises ValueError where there is nothing to show.
    """
    if not models or not all(models.values()):
        raise ValueError("explorer: a model without samples found, allowed: at least one sweep")
    sweeps = {name: [asdict(sweep) for sweep in found] for name, found in models.items()}
    template = resources.files("cartoonists.report").joinpath("explorer.html").read_text("utf-8")
    return Template(template).substitute(
        bokeh=Resources("inline", components=["bokeh"]).render(),
        plots=_embedded({name: json_item(plot) for name, plot in _plots().items()}),
        models=_embedded(sweeps),
        record=_embedded(dict(record)),
    )


def _embedded(content: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content, default=str, separators=(",", ":")).replace("</", "<\\/")


def _plots() -> dict[str, figure]:
    """The three linked plots, without data: the page's script fills their sources."""
    return {"sizes": _sizes(), "settings": _settings(), "spectra": _spectra()}


def _blank(title: str, x: str, y: str, **options) -> figure:
    return figure(
        title=title,
        x_axis_label=x,
        y_axis_label=y,
        height=320,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        **options,
    )


def _source(name: str, *columns: str) -> ColumnDataSource:
    """A source that the page fills; one point until then, for axes without any warn."""
    return ColumnDataSource({column: [1] for column in columns}, name=name)


def _sizes() -> figure:
    plot = _blank("Log-density and file size", "PNG [bytes]", "log-density [nats/dim]")
    columns = ("bytes", "density", "seed", "setting")
    style: dict[str, Any] = {"x": "bytes", "y": "density", "line_color": None}
    everyone, shown = _source("all", *columns), _source("shown", *columns)
    plot.line("bytes", "density", source=_source("path", *columns), color=GREY)
    all_dots = plot.scatter(source=everyone, size=6, color=GREY, alpha=0.5, **style)
    dots = plot.scatter(source=shown, size=10, color=BLUE, alpha=0.8, **style)
    one = plot.scatter(source=_source("one", *columns), size=14, color=ORANGE, **style)
    values = [("log-density", "@density{0.00} nats/dim"), ("PNG", "@bytes bytes")]
    plot.add_tools(HoverTool(renderers=[all_dots, dots, one], tooltips=TOOLTIP + values))
    _choose_by_tap(plot, dots, shown)
    return plot


def _settings() -> figure:
    plot = _blank("Log-density at every setting", "", "log-density [nats/dim]")
    columns = ("place", "density", "seed", "setting")
    everyone = _source("all", *columns)
    where = Span(location=0, dimension="height", line_color=BLUE, line_width=2, name="where")
    plot.add_layout(where)
    dots = plot.scatter(
        "place", "density", source=everyone, size=6, color=GREY, alpha=0.5, line_color=None
    )
    plot.line("place", "density", source=_source("path", *columns), color=ORANGE, line_width=2)
    values = [("log-density", "@density{0.00} nats/dim")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=TOOLTIP + values))
    _choose_by_tap(plot, dots, everyone)
    plot.xgrid.visible = False
    plot.xaxis.minor_tick_line_color = None
    return plot


def _choose_by_tap(plot: figure, dots, source: ColumnDataSource) -> None:
    code = "for (const i of source.selected.indices.slice(0, 1)) chooseSeed(source.data.seed[i])"
    dots.nonselection_glyph = dots.selection_glyph = dots.glyph
    plot.add_tools(TapTool(renderers=[dots], callback=CustomJS(args={"source": source}, code=code)))


def _spectra() -> figure:
    scales = {"x_axis_type": "log", "y_axis_type": "log"}
    plot = _blank("Power spectrum", "frequency [cycles/pixel]", "power [grey levels²]", **scales)
    for name, colour, dash, legend in (
        ("reference", GREY, "dashed", "mean, reference"),
        ("shown", BLUE, "solid", "mean, shown"),
        ("one", ORANGE, "solid", "chosen seed"),
    ):
        line = plot.line(
            "frequency", "power", source=_source(name, "frequency", "power"), color=colour,
            line_dash=dash, line_width=2, legend_label=legend,
        )  # fmt: skip
        tooltips = [("frequency", "@frequency{0.000}"), ("power", "@power{0.0}")]
        plot.add_tools(HoverTool(renderers=[line], tooltips=[(legend, ""), *tooltips]))
    plot.xaxis.formatter = BasicTickFormatter()
    plot.legend.location = "bottom_left"
    plot.legend.background_fill_alpha = 0.6
    return plot
