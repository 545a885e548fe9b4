import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, bootstrapped, mean
from cartoonists.statistics.summaries import distance_from_even, half_way_gap, place_in_window

OUTSIDE = "T_lower or T_upper lies outside the range of λ"


def by_level(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """A column of the table, a row a seed and a column a λ."""
    return table.pivot(index="seed", columns="logsnr", values=name).astype(float)


def columns(table: pd.DataFrame) -> list[pd.Series]:
    return [table[level] for level in table]


def mixtures(measured: Measurements, shares: str, windows: str) -> None:
    """Claim 11: where half is decided, against the prediction and in Li & Chen's window."""
    found = pd.read_csv(windows).set_index("target")
    for target, part in pd.read_csv(shares).groupby("target", sort=False):
        window = found.loc[target]
        here = {"model": "closed form", "condition": target}
        kept, predicted = by_level(part, "kept_sde"), by_level(part, "predicted")
        levels, forgotten = list(kept), window["forgotten_share"]
        gap = bootstrapped(half_way_gap(levels, forgotten), *columns(kept), *columns(predicted))
        measured.add("windows-place", gap, shares, **here)
        ends = window[["t_lower_logsnr", "t_upper_logsnr"]]
        known = kept if ends.notna().all() else kept[:0]
        place = bootstrapped(place_in_window(levels, forgotten, *ends), *columns(known))
        missing = {"left_out": len(kept) - len(known), "why": OUTSIDE}
        measured.add("windows-li-chen", place, shares, **here, **missing)
        error = part["predicted"] - part["own_probability"]
        level = error.groupby(part["logsnr"]).mean().abs().idxmax()
        where = f"{target}, λ = {level:g}"
        measured.add("windows-exact", mean(error[part["logsnr"] == level]), shares, condition=where)


def between(measured: Measurements, artifact: str) -> None:
    """Claim 11: between the windows of two levels the group is decided, its member is not."""
    table = pd.read_csv(artifact)
    own = table["kept_member"].astype(float)
    sibling = table["kept_group"].astype(float) - own
    level, decided, forgotten = (
        table[f"{name}logsnr"].iloc[0] for name in ("", "decided_", "forgotten_")
    )
    where = f"λ = {level:.3g}, between {decided:.3g} and {forgotten:.3g}"
    distance = bootstrapped(distance_from_even, own, sibling)
    measured.add("windows-between", distance, artifact, model="closed form", condition=where)


def image_model(measured: Measurements, model: str, artifact: str) -> None:
    """Two draws from x_λ agree as often as one keeps the class, if the chain is exact."""
    table = pd.read_csv(artifact)
    kept = table["label_sde"] == table["label"]
    agree = table["label_sde"] == table["label_again"]
    table = table.assign(kept=kept, agree=agree)
    kept, agree = by_level(table, "kept"), by_level(table, "agree")
    gap = bootstrapped(half_way_gap(list(kept)), *columns(kept), *columns(agree))
    measured.add("windows-place-models", gap, artifact, model=model)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    inputs = snakemake.input
    mixtures(measured, inputs.shares, inputs.predicted)
    between(measured, inputs.between)
    for model in snakemake.params.models:
        image_model(measured, model, f"results/{model}/windows.csv")
    write_table(snakemake.output[0], measured.table(), record)
