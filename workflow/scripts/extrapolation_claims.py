"""The rules of decision, written before the measurement:

Cartoons are in the density if HD images of the exact score are denser in the mean than ordinary
ones with the same noise, and flatter by more than 5%; and if the exact score gives more than half
of the flattening that the networks give.  A network is free to see cartoons that are not there if
its own log p exceeds the true one at its HD points, or if its score errs more on HD trajectories
than on noised data.  An interval that straddles a bound decides nothing.
"""

import pandas as pd
from scipy import stats

from cartoonists.files.artifacts import job, write_table
from cartoonists.images.measures import correlations
from cartoonists.report import extrapolation as tables
from cartoonists.statistics.claims import Bootstrap, Interval, row, to_table

OURS = "this project"
POSTER = "Karczewski et al. 2025a, poster"
SIZE = "Karczewski et al. 2025a, section 5"
FLATTER = 0.95  # HD over ordinary: flatter by more than 5%
HALF = 0.5
EQUAL = 0.01  # nats/dim between the PF-ODE's log p and the true one, where the score is exact
STRONG = 0.8  # size of a correlation that counts as strong, as on other images


def above(found: Interval, bound: float) -> bool | str:
    """Whether the interval lies above the bound, or that it says neither."""
    if found.above(bound) or found.below(bound):
        return found.above(bound)
    return f"undecided, the interval straddles {bound:g}"


def below(found: Interval, bound: float) -> bool | str:
    """Whether the interval lies below the bound, or that it says neither."""
    verdict = above(found, bound)
    return verdict if isinstance(verdict, str) else not verdict


def density_rows(table: pd.DataFrame, case: str, bootstrap: Bootstrap, artifact: str) -> list:
    """Of the exact score, by switch point: denser, and flatter."""
    rows = []
    gain = tables.changes(table, tables.EXACT, tables.per_dimension(table, tables.TRUE))
    rough = tables.by_kind(table, tables.EXACT, table[tables.FLATNESS])
    for switch in gain:
        where = f"({case}, λ = {switch:g}, n = {len(gain)})"
        found = bootstrap.mean(gain[switch])
        statement = f"13 HD images of the exact score are denser: HD - ordinary {where}"
        verdict = above(found, 0.0)
        rows.append(row(statement, OURS, "above 0", found, "nats/dim", verdict, artifact))
        found = tables.ratio_of_means(bootstrap, rough[switch], rough[tables.ORDINARY])
        statement = f"13 HD images of the exact score are flatter: HD / ordinary {where}"
        verdict = below(found, FLATTER)
        rows.append(row(statement, OURS, "below 1", found, "ratio", verdict, artifact))
    return rows


def share_rows(table: pd.DataFrame, case: str, bootstrap: Bootstrap, artifact: str) -> list:
    """Flattening, mean over the switch points: the exact score's over each network's."""
    exact = tables.changes(table, tables.EXACT, table[tables.FLATNESS]).mean(axis=1)
    rows = []
    for name in tables.networks(table):
        learned = tables.changes(table, name, table[tables.FLATNESS]).mean(axis=1)
        found = tables.ratio_of_means(bootstrap, exact, learned)
        statement = f"13 flattening is in the density: exact score / network ({case}, {name})"
        rows.append(row(statement, OURS, "1", found, "ratio", above(found, HALF), artifact))
    return rows


def freedom_rows(table: pd.DataFrame, case: str, bootstrap: Bootstrap, artifact: str) -> list:
    """Own minus true log p of each network at its HD points; the same of the exact score is 0."""
    rows = []
    for name in tables.networks(table):
        wide = tables.by_kind(table, name, tables.overestimate(table))
        for switch in wide.drop(columns=tables.ORDINARY):
            found = bootstrap.mean(wide[switch])
            statement = (
                "13 the network takes its HD images for denser than they are: own - true log p "
                f"({case}, {name}, λ = {switch:g})"
            )
            verdict = above(found, 0.0)
            rows.append(row(statement, POSTER, "above 0", found, "nats/dim", verdict, artifact))
    check = tables.by_kind(table, tables.EXACT, tables.overestimate(table)).mean(axis=1)
    found = bootstrap.mean(check)
    statement = f"13 the PF-ODE of the exact score gives the true log p ({case})"
    verdict = found.within(-EQUAL, EQUAL)
    return [*rows, row(statement, OURS, "0", found, "nats/dim", verdict, artifact)]


def error_rows(errors: pd.DataFrame, case: str, bootstrap: Bootstrap, artifact: str) -> list:
    """Score error on the exact HD trajectories over that on noised data."""
    rows = []
    for name in errors["score"].unique():
        found = tables.ratio_of_means(bootstrap, *tables.integrated_errors(errors, name))
        statement = (
            "13 the network's score errs more on HD trajectories than on noised data: ratio of "
            f"squared errors ({case}, {name})"
        )
        rows.append(row(statement, POSTER, "above 1", found, "ratio", above(found, 1.0), artifact))
    return rows


def flat_rows(table: pd.DataFrame, confidence: float, artifact: str) -> list:
    """Share of HD images with less texture than every draw, by switch point."""
    draws = table[table["kind"] == "draw"]
    least = draws["texture"].min()
    rows = []
    for switch, part in table[table["kind"] == "high-density"].groupby("switch_logsnr"):
        hits, n = int((part["texture"] < least).sum()), len(part)
        ends = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
        found = Interval(hits / n, ends.low, ends.high)
        statement = (
            f"13 HD images are flatter than every one of {len(draws)} draws: share "
            f"(synthetic, λ = {switch:g}, n = {n})"
        )
        rows.append(row(statement, OURS, "1", found, "share", above(found, HALF), artifact))
    return rows


def size_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """PNG size against the true log-density: all draws, each strength alone, each switch point."""
    draws = table[table["kind"] == "draw"]
    groups = {"draws": draws}
    for strength, part in draws.groupby("strength"):
        groups[f"draws of texture {strength:g}"] = part
    for switch, part in table[table["kind"] == "high-density"].groupby("switch_logsnr"):
        groups[f"high-density from λ = {switch:g}"] = part
    parts = [part.assign(kind=name) for name, part in groups.items() if len(part) >= 3]
    found = correlations(pd.concat(parts), ["log_density_nats"], ["png_bytes"], bootstrap)
    rows = []
    for _, each in found.iterrows():
        interval = Interval(each["value"], each["ci_low"], each["ci_high"])
        statement = (
            f"9 true log-density follows size: {each['statistic']} correlation with png "
            f"({each['kind']}, n = {each['n']}, synthetic)"
        )
        verdict = below(interval, -STRONG)
        paper = "-0.97 (PNG, FFHQ-256)"
        rows.append(row(statement, SIZE, paper, interval, "correlation", verdict, artifact))
    return rows


with job(snakemake) as record:
    bootstrap, inputs = Bootstrap(**snakemake.params.bootstrap), snakemake.input
    table, errors = pd.read_csv(inputs.samples), pd.read_csv(inputs.errors)
    side = int(table["dimensions"].iloc[0] ** 0.5)
    case = f"fitted to Fashion-MNIST, {side}×{side}"
    rows = density_rows(table, case, bootstrap, inputs.samples)
    rows += share_rows(table, case, bootstrap, inputs.samples)
    rows += freedom_rows(table, case, bootstrap, inputs.samples)
    rows += error_rows(errors, case, bootstrap, inputs.errors)
    shapes = pd.read_csv(inputs.synthetic)
    rows += flat_rows(shapes, bootstrap.confidence, inputs.synthetic)
    rows += size_rows(shapes, bootstrap, inputs.synthetic)
    write_table(snakemake.output[0], to_table(rows), record)
