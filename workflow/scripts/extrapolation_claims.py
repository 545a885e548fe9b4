import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics import extrapolation as tables
from cartoonists.statistics.estimates import Measurements, correlation, mean, ratio_of_means, share


def density(measured: Measurements, table: pd.DataFrame, case: str, artifact: str) -> None:
    """Claim 13, of the exact score: denser, flatter, and its share of the flattening."""
    gain = tables.changes(table, tables.EXACT, tables.per_dimension(table, tables.TRUE))
    rough = tables.by_kind(table, tables.EXACT, table[tables.FLATNESS])
    for switch in gain:
        where = f"{case}, switch at λ = {switch:g}"
        measured.add("exact-denser", mean(gain[switch]), artifact, condition=where)
        ratio = ratio_of_means(rough[switch], rough[tables.ORDINARY])
        measured.add("exact-flatter", ratio, artifact, condition=where)
    exact = tables.changes(table, tables.EXACT, table[tables.FLATNESS]).mean(axis=1)
    for name in tables.networks(table):
        learned = tables.changes(table, name, table[tables.FLATNESS]).mean(axis=1)
        ratio = ratio_of_means(exact, learned)
        measured.add("flattening-share", ratio, artifact, condition=f"{case}, {name}")


def freedom(measured: Measurements, table: pd.DataFrame, case: str, artifact: str) -> None:
    """Claim 13: own minus true log p of each network at its HD points; of the exact score, 0."""
    for name in tables.networks(table):
        wide = tables.by_kind(table, name, tables.overestimate(table))
        for switch in wide.drop(columns=tables.ORDINARY):
            where = f"{case}, {name}, switch at λ = {switch:g}"
            measured.add("network-freedom", mean(wide[switch]), artifact, condition=where)
    check = tables.by_kind(table, tables.EXACT, tables.overestimate(table)).mean(axis=1)
    measured.add("exact-flow", mean(check), artifact, condition=case)


def errors(measured: Measurements, table: pd.DataFrame, case: str, artifact: str) -> None:
    """Claim 13: score error on the exact HD trajectories over that on noised data."""
    for name in table["score"].unique():
        ratio = ratio_of_means(*tables.integrated_errors(table, name))
        measured.add("network-errs-more", ratio, artifact, condition=f"{case}, {name}")


def synthetic(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claims 13 and 9: texture of HD images, and PNG size against the true log-density."""
    draws = table[table["kind"] == "draw"]
    branches = table[table["kind"] == "high-density"].groupby("switch_logsnr")
    for switch, part in branches:
        flat = share(part["texture"] < draws["texture"].min())
        where = f"switch at λ = {switch:g}, against {len(draws)} draws"
        measured.add("synthetic-flatter", flat, artifact, condition=where)
    groups = {"draws": draws}
    groups |= {
        f"draws of texture {strength:g}": part for strength, part in draws.groupby("strength")
    }
    groups |= {f"HD, switch at λ = {switch:g}": part for switch, part in branches}
    for name, part in groups.items():
        found = correlation(part["log_density_nats"], part["png_bytes"])
        measured.add("png-synthetic", found, artifact, condition=name)


with job(snakemake) as record:
    measured, inputs = Measurements(**snakemake.params.bootstrap), snakemake.input
    samples = pd.read_csv(inputs.samples)
    side = int(samples["dimensions"].iloc[0] ** 0.5)
    case = f"{side}×{side}"
    density(measured, samples, case, inputs.samples)
    freedom(measured, samples, case, inputs.samples)
    errors(measured, pd.read_csv(inputs.errors), case, inputs.errors)
    synthetic(measured, pd.read_csv(inputs.synthetic), inputs.synthetic)
    write_table(snakemake.output[0], measured.table(), record)
