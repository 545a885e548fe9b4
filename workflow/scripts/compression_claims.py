import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import (
    Measurements,
    correlation,
    correlation_gap,
    partial_rank_correlation,
)
from cartoonists.statistics.trust import UNTRUSTED, trusted

SCARCE = f"{UNTRUSTED}; or not among the bundled images, and data_dir names no others"
LOSSLESS = ("zlib_bytes", "png_bytes", "webp_lossless_bytes")
FURTHER = {"medical": "png-medical", "simple": "png-simple"}  # kinds of images, their claims
DENSITY, PNG = "log_density_nats", "png_bytes"


def sizes(measured: Measurements, table: pd.DataFrame, here, n_real: int) -> None:
    """Claim 9: PNG size, with each pooling by itself."""
    units = table["kind"].eq("data").astype(str) + table["seed"].astype(str)
    ordinary, real = (table[table["kind"] == kind] for kind in ("ordinary", "data"))
    for condition, whole in {
        "ordinary samples": ordinary, "real images": real, "all kinds together": table
    }.items():  # fmt: skip
        part = whole[trusted(whole)]
        found = correlation(part[DENSITY], part[PNG], units[part.index])
        where = here(condition, whole)
        if whole is real and len(real) < n_real:
            where |= {"left_out": n_real - len(part), "why": SCARCE}
        measured.add("png-follows-density", found, **where)
    for switch, whole in table[table["kind"] == "high-density"].groupby("switch_logsnr"):
        part = whole[trusted(whole)]
        found = correlation(part[DENSITY], part[PNG])
        measured.add("png-within-switch", found, **here(f"switch at λ = {switch:g}", whole))


def codecs(measured: Measurements, whole: pd.DataFrame, here) -> None:
    """Claim 9: lossless codecs two by two, the one with smaller files first."""
    ordinary = whole[trusted(whole)]
    found = [name for name in LOSSLESS if name in ordinary]
    ranked = sorted(found, key=lambda name: ordinary[name].mean())
    for i, better in enumerate(ranked):
        for other in ranked[i + 1 :]:
            gap = correlation_gap(ordinary[DENSITY], ordinary[better], ordinary[other])
            names = [n.removesuffix("_bytes").replace("_", " ") for n in (better, other)]
            measured.add("codec-order", gap, **here(" - ".join(names), whole))


def dimension(measured: Measurements, whole: pd.DataFrame, here) -> None:
    """Claim 12: FLIPD against PNG size at equal log-density, and against that at equal |σ s|²."""
    ordinary = whole[trusted(whole)]
    for name in [name for name in ordinary if name.startswith("lid_at_")]:
        level = name.removeprefix("lid_at_")
        square = f"scaled_square_at_{level}"
        where = here(f"FLIPD at λ = {level}", whole)
        part = ordinary[[name, PNG, DENSITY, square]].dropna()
        found = partial_rank_correlation(part[name], part[PNG], part[DENSITY])
        measured.add("local-dimension", found, **where)
        found = partial_rank_correlation(part[name], part[DENSITY], part[square])
        measured.add("local-dimension-density", found, **where)


def measure(measured: Measurements, model: str, artifact: str, n_real: int) -> None:
    table = pd.read_csv(artifact)

    def here(condition: str, whole: pd.DataFrame) -> dict:
        dropped = int((~trusted(whole)).sum())
        where = {"artifact": artifact, "model": model, "condition": condition}
        return where | {"left_out": dropped, "why": UNTRUSTED}

    sizes(measured, table, here, n_real)
    ordinary = table[table["kind"] == "ordinary"]
    codecs(measured, ordinary, here)
    dimension(measured, ordinary, here)


def further(measured: Measurements, kind: str, model: str) -> None:
    """Claim 9 on images of a further kind, real ones and samples by themselves."""
    artifact = f"results/{model}/compression_further.csv"
    names = {"ordinary": "ordinary samples", "data": "real images"}
    for origin, whole in pd.read_csv(artifact).groupby("kind"):
        part = whole[trusted(whole)]
        here = {"model": model, "condition": names[origin], "left_out": len(whole) - len(part)}
        found = correlation(part[DENSITY], part[PNG])
        measured.add(FURTHER[kind], found, artifact, **here, why=UNTRUSTED)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for model in snakemake.params.models:
        measure(measured, model, f"results/{model}/compression.csv", snakemake.params.n_real)
    for kind, model in snakemake.params.further.items():
        further(measured, kind, model)
    write_table(snakemake.output[0], measured.table(), record)
