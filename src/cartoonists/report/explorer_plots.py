"""The plots of the explorer, without data: the page's script fills their sources.

A source has columns ``low`` and ``high`` wherever it has a log-density: the ends of its error bar.
"""

from typing import Any

from bokeh.models import BasicTickFormatter, ColumnDataSource, CustomJS, HoverTool, TapTool
from bokeh.models.annotations import Legend, Span
from bokeh.models.tickers import FixedTicker
from bokeh.plotting import figure

GREY, BLUE, ORANGE, GREEN, PINK = "#949494", "#0173b2", "#d55e00", "#029e73", "#cc78bc"
SAMPLE = ("density", "low", "high", "seed", "setting")  # told apart by colour-blind readers too
TOOLTIP = [
    ("seed", "@seed"),
    ("sample", "@setting"),
    ("log-density", "@density{0.00} (@low{0.00} to @high{0.00}) nats/dim"),
]


def plots() -> dict[str, figure]:
    """The linked plots by the identifiers of their places in the page."""
    made = {"sizes": _sizes, "settings": _settings, "spectra": _spectra, "lambdas": _lambdas}
    return {name: make() for name, make in made.items()}


def _blank(title: str, x: str, y: str, **options) -> figure:
    return figure(
        title=title,
        x_axis_label=x,
        y_axis_label=y,
        height=360,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        **options,
    )


def _source(name: str, *columns: str) -> ColumnDataSource:
    """A source that the page fills; one point until then, for axes without any warn."""
    return ColumnDataSource({column: [1] for column in columns}, name=name)


def _bars(plot: figure, source: ColumnDataSource, x: str, colour: str, alpha: float = 1.0) -> None:
    """Error bars as a glyph, so that the axes make room for them."""
    plot.segment(x, "low", x, "high", source=source, color=colour, alpha=alpha)


def _legend_below(plot: figure, entries: list[tuple[str, list]]) -> None:
    """A legend outside of the data."""
    plot.add_layout(Legend(items=entries, ncols=2, label_text_font_size="9pt", spacing=12), "below")


def _sizes() -> figure:
    plot = _blank("Log-density and file size", "PNG [bytes]", "log-density [nats/dim]")
    columns = ("bytes", *SAMPLE)
    everyone, shown, one = (_source(name, *columns) for name in ("all", "shown", "one"))
    real, blurred = _source("real", *columns), _source("blurred", *columns)
    style: dict[str, Any] = {"x": "bytes", "y": "density", "line_color": None, "alpha": 0.8}
    for source, colour, alpha in (
        (everyone, GREY, 0.4), (real, GREEN, 1), (blurred, PINK, 1), (shown, BLUE, 1),
        (one, ORANGE, 1),
    ):  # fmt: skip
        _bars(plot, source, "bytes", colour, alpha)
    plot.line("bytes", "density", source=_source("path", *columns), color=GREY)
    dots = {
        name: plot.scatter(source=source, size=size, color=colour, marker=marker, **style)
        for name, source, size, colour, marker in (
            ("all samples", everyone, 6, GREY, "circle"),
            ("samples shown", shown, 10, BLUE, "circle"),
            ("real images", real, 10, GREEN, "diamond"),
            ("real, blurred", blurred, 8, PINK, "triangle"),
            ("chosen seed", one, 14, ORANGE, "circle"),
        )
    }
    tips = [*TOOLTIP, ("PNG", "@bytes bytes")]
    plot.add_tools(HoverTool(renderers=list(dots.values()), tooltips=tips))
    _legend_below(plot, [(name, [renderer]) for name, renderer in dots.items()])
    _choose_by_tap(plot, dots["samples shown"], shown)
    return plot


def _settings() -> figure:
    plot = _blank("Log-density at every setting", "", "log-density [nats/dim]")
    columns = ("place", *SAMPLE)
    everyone, path = _source("all", *columns), _source("path", *columns)
    where = Span(location=0, dimension="height", line_color=BLUE, line_width=2, name="where")
    plot.add_layout(where)
    _bars(plot, everyone, "place", GREY, 0.5)
    dots = plot.scatter(
        "place", "density", source=everyone, size=6, color=GREY, alpha=0.5, line_color=None
    )
    _bars(plot, path, "place", ORANGE)
    line = plot.line("place", "density", source=path, color=ORANGE, line_width=2)
    plot.add_tools(HoverTool(renderers=[dots], tooltips=TOOLTIP))
    _legend_below(plot, [("all seeds", [dots]), ("chosen seed", [line])])
    _choose_by_tap(plot, dots, everyone)
    plot.xgrid.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=[0])  # moved to the settings by the page
    return plot


def _choose_by_tap(plot: figure, dots, source: ColumnDataSource) -> None:
    code = "for (const i of source.selected.indices.slice(0, 1)) chooseSeed(source.data.seed[i])"
    dots.nonselection_glyph = dots.selection_glyph = dots.glyph
    plot.add_tools(TapTool(renderers=[dots], callback=CustomJS(args={"source": source}, code=code)))


def _spectra() -> figure:
    scales = {"x_axis_type": "log", "y_axis_type": "log"}
    plot = _blank("Power spectrum", "frequency [cycles/pixel]", "power [grey levels²]", **scales)
    entries = []
    for name, colour, dash, label in (
        ("reference", GREY, "dashed", "mean, reference"),
        ("shown", BLUE, "solid", "mean, shown"),
        ("one", ORANGE, "solid", "chosen seed"),
    ):
        line = plot.line(
            "frequency", "power", source=_source(name, "frequency", "power"), color=colour,
            line_dash=dash, line_width=2,
        )  # fmt: skip
        tooltips = [("frequency", "@frequency{0.000}"), ("power", "@power{0.0}")]
        plot.add_tools(HoverTool(renderers=[line], tooltips=[(label, ""), *tooltips]))
        entries.append((label, [line]))
    plot.xaxis.formatter = BasicTickFormatter()
    _legend_below(plot, entries)
    return plot


def _lambdas() -> figure:
    plot = _blank("Log-density along the way", "λ", "tracked log p_λ [nats/dim]")
    where = Span(location=0, dimension="height", line_color=BLUE, line_width=2, name="where")
    plot.add_layout(where)
    others = ColumnDataSource({"logsnr": [[1, 2]], "density": [[1, 2]]}, name="others")
    plot.multi_line("logsnr", "density", source=others, color=GREY, alpha=0.4)
    path = _source("path", "logsnr", "density", "low", "high")
    plot.varea("logsnr", "low", "high", source=path, fill_color=ORANGE, fill_alpha=0.4)
    line = plot.line("logsnr", "density", source=path, color=ORANGE, line_width=2)
    one = _source("one", "logsnr", "density", "low", "high")
    _bars(plot, one, "logsnr", ORANGE)
    plot.scatter("logsnr", "density", source=one, size=12, color=ORANGE, line_color=None)
    tips = [("λ", "@logsnr{0.00}"), TOOLTIP[2]]
    plot.add_tools(HoverTool(renderers=[line], tooltips=tips, mode="vline"))
    return plot
