import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Interval, row, to_table

SIZE = "Karczewski et al. 2025a, section 5"
DIMENSION = "Karczewski et al. 2025a, section 5; Kamkari et al. 2024"
STRONG = 0.8  # size of a correlation that counts as strong; the paper has 0.97 on FFHQ-256


def size_row(found: pd.Series, model: str, artifact: str):
    """Claim 9: log-density falls as the size rises."""
    interval = Interval(found["value"], found["ci_low"], found["ci_high"])
    codec = found["y"].removesuffix("_bytes").replace("_", " ")
    return row(
        f"9 log-density follows size: {found['statistic']} correlation with {codec} "
        f"({found['kind']}, n = {found['n']}, {model})",
        SIZE,
        "-0.97 (PNG, FFHQ-256)" if codec == "png" else "not reported",
        interval,
        "correlation",
        interval.below(-STRONG) if codec == "png" else "the paper measures PNG",
        artifact,
    )


def dimension_row(found: pd.Series, model: str, artifact: str):
    """Claim 12: the local dimension falls with log-density and rises with size."""
    interval = Interval(found["value"], found["ci_low"], found["ci_high"])
    by_size = found["y"] == "png_bytes"
    name = found["x"] if by_size else found["y"]
    with_what = "PNG size" if by_size else "log-density"
    return row(
        f"12 local intrinsic dimension at λ = {name.removeprefix('lid_at_')}: "
        f"{found['statistic']} correlation with {with_what} "
        f"({found['kind']}, n = {found['n']}, {model})",
        DIMENSION,
        "above 0" if by_size else "below 0",
        interval,
        "correlation",
        interval.above(0.0) if by_size else interval.below(0.0),
        artifact,
    )


def rows_of(model: str, artifact: str) -> list:
    table = pd.read_csv(artifact)
    rows = []
    for _, found in table.iterrows():
        dimension = "lid_at_" in found["x"] + found["y"]
        if dimension and found["statistic"] == "spearman":
            rows.append(dimension_row(found, model, artifact))
        elif not dimension and (found["y"] == "png_bytes" or found["statistic"] == "pearson"):
            rows.append(size_row(found, model, artifact))
    return rows


with job(snakemake) as record:
    rows = []
    for model in snakemake.params.models:
        rows += rows_of(model, f"results/{model}/compression_correlations.csv")
    write_table(snakemake.output[0], to_table(rows), record)
