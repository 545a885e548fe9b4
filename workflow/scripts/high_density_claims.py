import numpy as np
import pandas as pd
from scipy import special

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import (
    Measurements,
    bootstrapped,
    mean,
    normal,
    ratio_of_means,
    share,
)
from cartoonists.statistics.summaries import bound_gains, compared_pairs, turning_point
from cartoonists.statistics.trust import UNTRUSTED, trusted


def gains(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 6: share of pairs, mean gain and ratio at each switch point."""
    size = table["dimensions"].iloc[0]
    for switch, pairs in compared_pairs(table).groupby("switch_logsnr"):
        here = {"artifact": artifact, "model": model, "condition": f"switch at λ = {switch:g}"}
        kept = pairs[pairs["trusted"]]
        dropped = {"left_out": len(pairs) - len(kept), "why": UNTRUSTED}
        gain = kept["high_density_nats"] - kept["ordinary_nats"]
        apart = gain.abs() > kept["error_nats"]
        ties = f"{dropped['left_out']} by {UNTRUSTED}; others no further apart than their errors"
        together = {"left_out": len(pairs) - int(apart.sum()), "why": ties}
        measured.add("hd-always", share(gain[apart] > 0), **here, **together)
        measured.add("hd-gain", mean(gain / size), **here, **dropped)
        if model.startswith("cifar10"):
            for unit in ("nats", "bits"):
                both = (kept[f"high_density_{unit}"], kept[f"ordinary_{unit}"])
                unit_here = here | {"condition": f"{unit}, {here['condition']}"}
                measured.add("likelihood-ratio", ratio_of_means(*both), **unit_here, **dropped)


def bounds(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 6 without the PF-ODE: lower bound of HD samples, upper of ordinary ones."""
    for switch, gain in bound_gains(table, "tracked").items():
        found = mean(gain.dropna() / table["dimensions"].iloc[0])
        where = f"switch at λ = {switch:g}"
        measured.add("hd-bounds", found, artifact, model=model, condition=where)


def by_switch(table: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, pd.Series]:
    """A measure of the HD samples, a row a seed and a column a switch, and of the ordinary ones."""
    ordinary = table[table["sample"] == "ordinary"].set_index("seed")[measure]
    branch = table[table["sample"] == "high-density"]
    values = branch.pivot(index="seed", columns="switch_logsnr", values=measure).dropna()
    return values, ordinary.loc[values.index]


def detail(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 7: gradient energy of HD images by that of ordinary ones."""
    values, ordinary = by_switch(table, "gradient_energy")
    for switch in dict.fromkeys((min(values), min(values, key=abs))):
        ratio = ratio_of_means(values[switch], ordinary)
        where = f"switch at λ = {switch:g}"
        measured.add("hd-less-detail", ratio, artifact, model=model, condition=where)


def cartoons(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Claim 7: share of the gradients in edges, HD / ordinary: early, late, and where it is 1."""
    values, ordinary = by_switch(table, "edge_share")
    early, late = min(values), min(values, key=abs)
    where = {switch: f"switch at λ = {switch:g}" for switch in values}
    blurred, drawn = (ratio_of_means(values[switch], ordinary) for switch in (early, late))
    measured.add("hd-early-blur", blurred, artifact, model=model, condition=where[early])
    measured.add("hd-late-cartoons", drawn, artifact, model=model, condition=where[late])
    ratios = values.mean() / ordinary.mean()
    if ratios.iloc[0] < 1 <= ratios.max():
        turn = bootstrapped(turning_point(list(values)), *values.to_numpy().T, ordinary)
        measured.add("cartoon-or-blur", turn, artifact, model=model)
        return
    found = f"{ratios.iloc[0]:.3g} at the first switch and {ratios.max():.3g} at most"
    none = {"left_out": len(values), "why": f"no λ where it turns, HD / ordinary is {found}"}
    measured.add("cartoon-or-blur", mean([]), artifact, model=model, **none)


def diversity(measured: Measurements, model: str, artifact: str, confidence: float) -> None:
    """Claim 7: effective number of different images; the table has the jackknife's interval."""
    table = pd.read_csv(artifact)
    table = table[(table["sample"] == "high-density") & (table["measure"] == "vendi_score")]
    first = table.loc[table["switch_logsnr"].idxmin()]
    half = special.ndtri(0.5 + confidence / 2)
    error = (first["ratio_ci_high"] - first["ratio_ci_low"]) / (2 * half)
    where = f"switch at λ = {first['switch_logsnr']:g}"
    ratio = normal(first["ratio"], error, int(first["n"]))
    measured.add("hd-diversity", ratio, artifact, model=model, condition=where)


def numerical_error(measured: Measurements, model: str, table: pd.DataFrame, artifact: str) -> None:
    """Estimated error against the spread, the seeds' means over their samples."""
    kept = table[trusted(table)]
    errors = kept.groupby("seed")["error_nats"].mean() / kept["log_density_nats"].std()
    here = {"model": model, "left_out": len(table) - len(kept), "why": UNTRUSTED}
    measured.add("pair-error", bootstrapped(np.median, errors), artifact, **here)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for model in snakemake.params.models:
        artifact = f"results/{model}/high_density.csv"
        table = pd.read_csv(artifact)
        for measure in (gains, bounds, detail, cartoons, numerical_error):
            measure(measured, model, table, artifact)
        sets = f"results/{model}/high_density_sets.csv"
        diversity(measured, model, sets, measured.bootstrap.confidence)
    write_table(snakemake.output[0], measured.table(), record)
