"""Figures: PNG and SVG, the same bytes for the same content, the record inside."""

import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cartoonists.report import blur, control, modes, plots, theory
from cartoonists.statistics.claims import Bootstrap


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def figure_of_a_line():
    figure, axis = plt.subplots()
    axis.plot([0, 1])
    return figure


def test_a_figure_carries_its_record(tmp_path):
    names = [tmp_path / "a.png", tmp_path / "a.svg"]
    plots.save(figure_of_a_line(), names, {"made from": "x.csv"})
    assert Image.open(names[0]).text["Description"] == '{"made from": "x.csv"}'
    assert "made from" in names[1].read_text()


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for kind in ("png", "svg"):
        names = [tmp_path / f"{i}.{kind}" for i in range(2)]
        for name in names:
            plots.save(figure_of_a_line(), [name])
        assert names[0].read_bytes() == names[1].read_bytes()


def test_the_band_holds_the_middle_95_percent():
    values = np.arange(201.0)[:, None] + np.array([0.0, 1000.0])
    _, axis = plt.subplots()
    plots.median_band(axis, [1, 2], values)
    assert list(axis.lines[0].get_ydata()) == [100.0, 1100.0]
    corners = axis.collections[0].get_paths()[0].vertices
    assert {tuple(c) for c in corners} >= {(1, 5.0), (1, 195.0), (2, 1005.0), (2, 1195.0)}


def test_tracking_errors_have_a_panel_a_target_and_dimension():
    index = pd.MultiIndex.from_product(
        [["mixture", "gaussian"], [2, 8], ["a", "b"], [4, 8], range(5)],
        names=["target", "dimensions", "tracker", "nfe", "seed"],
    )
    table = pd.DataFrame({"error_nats": np.linspace(-1, 1, len(index))}, index=index).reset_index()
    figure = theory.tracking_errors(table)
    assert len(figure.axes) == 4
    assert [axis.get_title() for axis in figure.axes[:2]] == ["D = 2", "D = 8"]
    assert "nats" in figure.axes[0].get_ylabel()


def test_a_style_of_the_users_own_changes_no_figure(tmp_path):
    """``text.usetex`` needs a TeX that is not there, and a window one that nobody looks at."""
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: Impact\nsavefig.transparent: True\nbackend: TkAgg\n"
        "axes.prop_cycle: cycler('color', ['red'])\n"
    )
    code = (
        "import matplotlib.pyplot as plt, sys; from cartoonists.report import plots;"
        "assert plt.rcParams['text.usetex'] == (len(sys.argv) > 2);"
        "plots.use_style(); figure, axis = plt.subplots(); axis.plot([1, 2], label='a_b');"
        "axis.legend(); plots.save(figure, sys.argv[1:2])"
    )
    made = []
    for theirs in ([], [str(tmp_path / "matplotlibrc")]):
        settings = {"MPLBACKEND": "agg", "MATPLOTLIBRC": theirs[0] if theirs else ""}
        path = tmp_path / f"{len(theirs)}.svg"
        command = [sys.executable, "-c", code, path, *theirs]
        environment = os.environ | settings
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        made.append(path.read_bytes())
    assert made[0] == made[1]


def black_levels(rises_by):
    """A table of blur curves: log p of image i after each step, by black level."""
    rows = [
        [source, seed, level, step, 784.0 * change * (step + 0.1 * seed), 1.0, 784]
        for source in ("data", "samples")
        for seed in range(4)
        for level, change in rises_by.items()
        for step in range(3)
    ]
    columns = ["source", "seed", "black_level", "step", "log_density_nats", "error_nats"]
    return pd.DataFrame(rows, columns=[*columns, "dimensions"])


def test_black_levels_show_shares_of_steps_and_the_change_per_dimension():
    figure = blur.blur_black({"m": black_levels({0: -0.5, 32: 0.25})}, Bootstrap(resamples=100))
    share, change = figure.axes
    assert [line.get_ydata().tolist() for line in share.containers[0][:1]] == [[0.0, 1.0]]
    assert change.lines[0].get_ydata().tolist() == [-1.0, 0.5]
    assert [label.get_text() for label in change.get_xticklabels()] == ["0", "32"]


def test_what_the_black_levels_show_is_said_in_a_sentence():
    level = Bootstrap(resamples=100)
    for found, change in {
        "more rise at 32 than at 0": {0: -0.5, 32: 0.25},
        "fewer rise at 32 than at 0": {0: 0.5, 32: -0.25},
        "no difference can be told": {0: 0.5, 32: 0.25},
    }.items():
        table = black_levels(change)
        alike = table["seed"].eq(0) & table["black_level"].eq(0) & table["step"].eq(0)
        table.loc[alike, "log_density_nats"] -= 1e4  # one image whose first step rises anyway
        said = blur.black_seen("m", table, level)
        assert found in said and "(8 images)" in said and "at 32" in said
    table = black_levels({0: 0.5}).assign(repeat=0, logsnr=10.0, operation="blur")
    table.loc[table["seed"].eq(3) & table["step"].eq(1), "log_density_nats"] -= 1e4
    assert blur.operations_seen("m", table).endswith("at every step: blur 6 of 8.")


def test_detail_of_guidance_is_shown_against_strength_0():
    strengths, seeds = [-1.0, 0.0, 1.0], range(6)
    rows = [[z, seed, 10 - z, 100 - 10 * z, z < 1] for z in strengths for seed in seeds]
    columns = ["strength", "seed", "gradient_energy", "png_bytes", "surely_classified"]
    measures = pd.DataFrame(rows, columns=columns)
    found = [["frechet_x", z, 1 + z**2, 0.9 + z**2, 1.1 + z**2] for z in (0.0, -1.0, 1.0)]
    columns = ["measure", "strength", "ratio", "ratio_ci_low", "ratio_ci_high"]
    sets = pd.DataFrame(found, columns=columns)
    bare = measures.drop(columns="surely_classified")
    figure = control.control_detail({"m": measures, "n": bare}, {"m": sets, "n": sets[:0]})
    detail, none, distance, no_data, sure, no_classifier = figure.axes
    assert detail.lines[0].get_ydata().tolist() == [1.1, 1.0, 0.9]
    assert distance.containers[0][0].get_ydata().tolist() == [2.0, 1.0, 2.0]
    assert sure.containers[0][0].get_ydata().tolist() == [1.0, 1.0, 0.0]
    assert no_data.texts[0].get_text() == "too few real images"
    assert no_classifier.texts[0].get_text() == "no classifier"


def test_alignment_has_both_forms_and_their_correlation_at_each_level():
    seeds = np.arange(6.0)
    parts = [
        pd.DataFrame({"seed": seeds, "logsnr_end": level, "with_score_nats": sign * seeds})
        for level, sign in ((1.0, 1), (10.0, -1))
    ]
    table = pd.concat(parts).assign(without_score_nats=lambda t: t["seed"])
    figure = control.alignment_curves({"m": table}, Bootstrap(resamples=100))
    both, correlated = figure.axes
    assert [line.get_ydata().tolist() for line in both.lines[:2]] == [[2.5, -2.5], [2.5, 2.5]]
    assert correlated.containers[0][0].get_ydata() == pytest.approx([1.0, -1.0])


def test_end_points_of_a_target_with_one_equation_are_drawn_in_its_colour():
    rows = [
        ("a", "mode ODE", 1e-6), ("a", "HD-ODE", 0.1), ("b", "HD-ODE", 1e-7),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["target", "process", "error"])
    table = pd.concat([table.assign(dimensions=d, logsnr_t=1.0, status="ok") for d in (1, 2)])
    both, one = modes.mode_errors(table.reset_index(drop=True)).axes
    shown = [
        {line.get_color() for line in axis.lines if np.isfinite(line.get_ydata()).any()}
        for axis in (both, one)
    ]
    assert len(shown[0]) == 2 and len(shown[1]) == 1 and shown[1] < shown[0]
