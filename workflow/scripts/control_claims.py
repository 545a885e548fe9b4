from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import special

from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.statistics.claims import Bootstrap, Interval, order_of_convergence
from cartoonists.statistics.estimates import (
    Estimate,
    Measurements,
    correlation,
    geometric_mean,
    mean,
    normal,
    share,
    share_gap,
)
from cartoonists.statistics.trust import UNTRUSTED, trusted

DENSITY, TRACKED, REQUESTED = "log_density_nats", "tracked_log_density_nats", "requested_nats"
STRONG = 0.5  # the strength whose reach is compared with ordinary samples
OFFICIAL = 1.0  # the λ at which the official code compares the two forms of alignment
EXPECTED = {"heun": 2.0, "euler": 0.5}  # orders


def named(strength: float) -> str:
    return f"strength {strength:+g}"


def by_strength(part: pd.DataFrame, column: str = DENSITY) -> pd.DataFrame:
    """Values of the samples that can be trusted, a row a seed and a column a strength."""
    kept = part[trusted(part)] if "error_nats" in part else part
    values = kept.pivot(index="seed", columns="strength", values=column)
    return values.reindex(columns=sorted(part["strength"].unique()))


def left_out(part: pd.DataFrame, n: int) -> dict:
    return {"left_out": part["seed"].nunique() - n, "why": UNTRUSTED}


def monotone(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 10: seeds whose log-density rises with every step of each control."""
    for control, part in table.groupby("control", sort=False):
        values = by_strength(part).dropna()
        here = {"artifact": artifact, "model": model, "condition": control}
        here |= left_out(part, len(values))
        if control.startswith("guidance") and values.shape[1] > 1:
            rising = (np.diff(values.to_numpy(), axis=1) > 0).all(axis=1)
            measured.add("guidance-monotone", share(rising), **here)
        elif control.startswith("prior"):
            up = values.iloc[:, -1] > values.iloc[:, 0]
            measured.add("prior-guidance", share(up), **here)


def reached(
    measured: Measurements, model: str, part: pd.DataFrame, artifact: str, span: float
) -> None:
    """Claim 10: reached by requested, along the path itself, and against the path of strength 0.

    Beyond the flow along its own path a sample gains what was requested where the bound does not
    act, exactly if what (★) tracks is what the PF-ODE measures.  At strength 0 they are the same
    number but for the error of the steps, which is taken out seed by seed.
    """
    values, along, asked = (by_strength(part, name) for name in (DENSITY, TRACKED, REQUESTED))
    size, departure = part["dimensions"].iloc[0], values - along
    for strength in values.columns.drop(0.0):
        request = asked[strength].where(asked[strength] != 0)
        ratio = (1 + (departure[strength] - departure[0.0]) / request).dropna()
        here = {"artifact": artifact, "model": model, "condition": named(strength)}
        measured.add("guidance-exact", mean(ratio), **here | left_out(part, len(ratio)))
        whole = 0.5 * np.sqrt(2 * size) * strength * span
        ratio = ((values[strength] - values[0.0]) / whole).dropna()
        measured.add("guidance-moves", mean(ratio), **here | left_out(part, len(ratio)))


def quantile_reached(
    measured: Measurements, model: str, part: pd.DataFrame, artifact: str, pairs: pd.DataFrame
) -> None:
    """Claim 10: ordinary samples of the same estimator below what a strength reaches."""
    ordinary = pairs[pairs["sample"] == "ordinary"]
    kept = ordinary[trusted(ordinary)]
    below = share(kept[DENSITY] < by_strength(part)[STRONG].median())
    here = {"model": model, "condition": named(STRONG)} | left_out(ordinary, len(kept))
    measured.add("guidance-no-quantile", below, artifact, **here)


def detail(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 10: detail and file size of each strength by those of the next smaller one."""
    table = pd.read_csv(artifact)
    for column, name in {"gradient_energy": "gradient energy", "png_bytes": "PNG bytes"}.items():
        values = table.pivot(index="seed", columns="strength", values=column)
        for last, next_one in pairwise(values.columns):
            ratio = geometric_mean(values[next_one] / values[last])
            condition = f"{name}, {named(next_one)} / {last:+g}"
            measured.add("guidance-detail", ratio, artifact, model=model, condition=condition)


def quality(measured: Measurements, model: str, sets: str, images: str, confidence: float) -> None:
    """Claim 10: Fréchet distance to the data, and images surely classified, against strength 0."""
    table = pd.read_csv(sets)
    distances = table[table["measure"].str.contains("frechet|FID") & (table["strength"] != 0)]
    half = special.ndtri(0.5 + confidence / 2)
    for row in distances.to_dict("records"):
        error = (row["ratio_ci_high"] - row["ratio_ci_low"]) / (2 * half)
        found = normal(row["ratio"], error, int(row["n"]))
        condition = f"{row['measure']}, {named(row['strength'])}"
        measured.add("guidance-quality", found, sets, model=model, condition=condition)
    if distances.empty:
        why = "too few real images of the data set are at hand for a Fréchet distance"
        measured.add("guidance-quality", mean([]), sets, model=model, left_out=1, why=why)
    table = pd.read_csv(images)
    if "surely_classified" not in table:
        return
    sure = table.pivot(index="seed", columns="strength", values="surely_classified")
    for strength in sure.columns.drop(0.0):
        gap = share_gap(sure[strength], sure[0.0])
        here = {"model": model, "condition": named(strength)}
        measured.add("guidance-sure", gap, images, **here)


def noise(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 10: guidance with noise against without, the mean over strengths of each seed."""
    plain = by_strength(table[table["control"] == "guidance"])
    noisy = table[table["control"].str.endswith("noise")]
    for control, part in noisy.groupby("control", sort=False):
        values = by_strength(part)
        same = plain.reindex(index=values.index, columns=values.columns)  # trusted here and there
        gap = (values - same).dropna().mean(axis=1)
        here = {"model": model, "condition": control} | left_out(part, len(gap))
        found = mean(gap / part["dimensions"].iloc[0])
        measured.add("noise-keeps-density", found, artifact, **here)


def alignment(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 10: the two forms of score alignment at each λ, and the samples aligned at the end."""
    for level, part in pd.read_csv(artifact).groupby("logsnr_end"):
        without, here = part["without_score_nats"], {"artifact": artifact, "model": model}
        found = correlation(part["with_score_nats"], without)
        if level == OFFICIAL:
            measured.add("alignment-agrees", found, condition=f"λ = {level:g}", **here)
        elif level > OFFICIAL:
            measured.add("alignment-agrees-later", found, condition=f"λ = {level:g}", **here)
    measured.add("alignment-positive", share(without > 0), **here)


def paths(measured: Measurements, artifact: str) -> None:
    """Order of convergence of formula (★) along every process."""
    for (process, solver), runs in pd.read_csv(artifact).groupby(["process", "solver"], sort=False):
        errors = runs.pivot(index="seed", columns="steps", values="error_nats")

        def relative(level: Bootstrap, squared=errors**2, expected=EXPECTED[solver]) -> Interval:
            order = order_of_convergence(squared, level)  # twice that of the root mean square
            ends = (order.value, order.low, order.high)
            return Interval(*(end / 2 / expected for end in ends))

        order = Estimate(len(errors), "bootstrap of units", relative)
        measured.add("path-order", order, artifact, condition=process)


def closed_forms(measured: Measurements, artifact: str, span: float) -> None:
    table = pd.read_csv(artifact)
    monotone(measured, "closed form", table, artifact)
    widest = table.loc[table["control"].str.startswith("guidance, bound"), "control"]
    widest = max(widest.unique(), key=lambda name: float(name.split()[-1]))
    reached(measured, "closed form", table[table["control"] == widest], artifact, span)


def image_model(measured: Measurements, model: str) -> None:
    artifact = f"results/{model}/control.csv"
    table = pd.read_csv(artifact)
    guided = table[table["control"] == "guidance"]
    levels = read_arrays(f"results/{model}/stein.npz")[0]["logsnr"]  # over the model's range of λ
    monotone(measured, model, table, artifact)
    reached(measured, model, guided, artifact, float(levels.max() - levels.min()))
    pairs = f"results/{model}/high_density.csv"
    if STRONG in guided["strength"].to_numpy() and pairs in snakemake.input.ordinary:
        quantile_reached(measured, model, guided, artifact, pd.read_csv(pairs))
    images = f"results/{model}/control_measures.csv"
    detail(measured, model, images)
    sets = f"results/{model}/control_sets.csv"
    quality(measured, model, sets, images, measured.bootstrap.confidence)
    noise(measured, model, table, artifact)
    alignment(measured, model, f"results/{model}/alignment.csv")


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    low, high = snakemake.params.logsnr
    closed_forms(measured, "results/theory/control.csv", high - low)
    alignment(measured, "closed form", "results/theory/alignment.csv")
    paths(measured, "results/theory/paths.csv")
    for model in snakemake.params.models:
        image_model(measured, model)
    write_table(snakemake.output[0], measured.table(), record)
