import numpy as np
import pandas as pd
from scipy import stats

from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.images.pictures import codec_sizes, gradient_energy
from cartoonists.statistics.claims import Bootstrap, Interval, order_of_convergence
from cartoonists.statistics.estimates import (
    Estimate,
    Measurements,
    correlation,
    geometric_mean,
    mean,
    share,
)
from cartoonists.statistics.trust import UNTRUSTED, trusted

DENSITY = "log_density_nats"
MIDDLE = 0.5  # the quantile that asks for nothing
STRONG = 0.7  # the quantile whose reach is compared with ordinary samples
OFFICIAL = 1.0  # the λ at which the official code compares the two forms of alignment
EXPECTED = {"heun": 2.0, "euler": 0.5}  # orders


def strength(quantile: float) -> str:
    return f"strength {stats.norm.ppf(quantile):+.2f} (q = {quantile:g})"


def by_strength(part: pd.DataFrame) -> pd.DataFrame:
    """Log-densities that can be trusted, a row a seed and a column a quantile."""
    kept = part[trusted(part)] if "error_nats" in part else part
    values = kept.pivot(index="seed", columns="quantile", values=DENSITY)
    return values.reindex(columns=sorted(part["quantile"].unique()))


def left_out(part: pd.DataFrame, n: int) -> dict:
    return {"left_out": part["seed"].nunique() - n, "why": UNTRUSTED}


def monotone(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 10: seeds whose log-density rises with every step of each control."""
    for control, part in table.groupby("control", sort=False):
        values = by_strength(part).dropna()
        here = {"artifact": artifact, "model": model, "condition": control}
        here |= left_out(part, len(values))
        if control.startswith("guidance"):
            rising = (np.diff(values.to_numpy(), axis=1) > 0).all(axis=1)
            measured.add("guidance-monotone", share(rising), **here)
        elif control.startswith("prior"):
            up = values.iloc[:, -1] > values.iloc[:, 0]
            measured.add("prior-guidance", share(up), **here)


def reached(
    measured: Measurements, model: str, part: pd.DataFrame, artifact: str, span: float
) -> None:
    """Claim 10: change against strength 0, reached by requested; ``span`` is the range of λ."""
    values = by_strength(part)
    for quantile in values.columns.drop(MIDDLE):
        asked = 0.5 * np.sqrt(2 * part["dimensions"].iloc[0]) * stats.norm.ppf(quantile) * span
        ratio = ((values[quantile] - values[MIDDLE]) / asked).dropna()
        here = {"model": model, "condition": strength(quantile)} | left_out(part, len(ratio))
        measured.add("guidance-exact", mean(ratio), artifact, **here)


def quantile_reached(
    measured: Measurements, model: str, part: pd.DataFrame, artifact: str, pairs: pd.DataFrame
) -> None:
    """Claim 10: ordinary samples of the same estimator below what a strength reaches."""
    ordinary = pairs[pairs["sample"] == "ordinary"]
    kept = ordinary[trusted(ordinary)]
    below = share(kept[DENSITY] < by_strength(part)[STRONG].median())
    here = {"model": model, "condition": strength(STRONG)} | left_out(ordinary, len(kept))
    measured.add("guidance-no-quantile", below, artifact, **here)


def detail(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 10: detail and file size of the guided images, largest by smallest strength."""
    images = read_arrays(artifact)[0]["images"]  # the quantiles rising
    sizes = [codec_sizes(part, ["png"])["png"] for part in (images[-1], images[0])]
    energies = [gradient_energy(part) for part in (images[-1], images[0])]
    for condition, (last, first) in {"gradient energy": energies, "PNG bytes": sizes}.items():
        ratio = geometric_mean(last / first)
        measured.add("guidance-detail", ratio, artifact, model=model, condition=condition)


def noise(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 10: guidance with noise against without, the mean over strengths of each seed."""
    plain = by_strength(table[table["control"] == "guidance"])
    noisy = table[table["control"].str.endswith("noise")]
    for control, part in noisy.groupby("control", sort=False):
        values = by_strength(part)
        gap = (values - plain.loc[values.index, values.columns]).dropna().mean(axis=1)
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
    pairs = pd.read_csv(f"results/{model}/high_density.csv")
    if STRONG in guided["quantile"].to_numpy():
        quantile_reached(measured, model, guided, artifact, pairs)
    detail(measured, model, f"results/{model}/control_images.npz")
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
