"""Published networks beside ours: what each gives to its samples, and the verdict of every claim.

    python benchmarks/published.py results/claims elsewhere/results/claims

Reads folders of decided rows, each beside the tables of its models; writes ``published_*.csv`` to
benchmarks/results.  *Ours* is the scoreboard that the README shows.
"""

import re
import sys
from pathlib import Path

import pandas as pd
import yaml

from cartoonists.report.register import COLUMNS, Register, text
from cartoonists.report.rules import NOT_TESTED
from cartoonists.report.scoreboard import scoreboard
from cartoonists.report.showing import SIGNS
from cartoonists.statistics.claims import Bootstrap, Interval
from cartoonists.statistics.estimates import mean, ratio_of_means, read_rows
from cartoonists.statistics.trust import trusted

CLONE = Path(__file__).resolve().parents[1]
OUT = Path(__file__).parent / "results"
NUMBERS = (  # claims whose rows are shown, not the verdict alone
    "tracked-follows-ode", "tracked-offset", "hd-less-detail", "hd-late-cartoons", "hd-early-blur",
    "blur-raises", "blur-not-special", "png-follows-density", "guidance-monotone",
    "local-dimension-density",
)  # fmt: skip


def ours() -> dict[str, str]:
    """Verdict of each claim in the README's table, with its sign, by id."""
    page = (CLONE / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| \[\d+\]\([^)#]*#([\w-]+)\) \|.*?\| (\S) [a-z ]+ \|", page, re.M)
    others = re.findall(r"\[(\S)\]\([^)#]*claims.md#([\w-]+)\)", page)
    words = {sign: f"{sign} {verdict}" for verdict, sign in SIGNS.items()}
    found = dict(lines) | {name: sign for sign, name in others if sign in words}
    return {name: words[sign] for name, sign in found.items()}


def verdicts(register: Register, rows: pd.DataFrame) -> pd.DataFrame:
    """A line a claim and a column a model."""
    known, columns = ours(), {}
    for model, part in rows[rows["model"] != ""].groupby("model", sort=False):
        asked = Register([entry for entry in register.entries if entry.id in set(part["id"])])
        board = scoreboard(asked, part).set_index("id")
        columns[model] = board["verdict"].map(lambda v: f"{SIGNS[v]} {v}")
    table = pd.DataFrame(columns)
    entries = [entry for entry in register.entries if entry.id in table.index]
    table = table.loc[[entry.id for entry in entries]].fillna("")
    table.insert(0, "ours", [known.get(entry.id, "") for entry in entries])
    table.insert(0, "claim", [f"[{e.number}](claims.md#{e.id}) {e.title}" for e in entries])
    return table


def numbers(register: Register, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of some claims: what was measured, decided or not."""
    titles = {e.id: f"[{e.number}](claims.md#{e.id}) {e.title}" for e in register.entries}
    kept = rows[rows["id"].isin(NUMBERS) & rows["ours"].notna()]
    elsewhere = (kept["id"] == "png-follows-density") & (kept["condition"] != "ordinary samples")
    kept = kept[~elsewhere].sort_values("id", key=lambda ids: ids.map(NUMBERS.index), kind="stable")
    return pd.DataFrame(
        {
            "claim": kept["id"].map(titles),
            "model": kept["model"],
            "of": kept["condition"].str.replace(r"(?<=λ = )(.+)", _short, regex=True),
            "measured": [text(interval(row)) for _, row in kept.iterrows()],
            "unit": kept["unit"],
            "n": kept["n"],
            "verdict": kept["verdict"],
        }
    )


def _short(match: re.Match) -> str:
    return f"{round(float(match[1]), 2) + 0:g}"


def gains(rows: pd.DataFrame, model: str, folder: Path) -> pd.DataFrame:
    """HD against ordinary at each switch point: log-density, share of pairs, size of files."""
    table = pd.read_csv(folder / model / "high_density.csv")
    size, png = table["dimensions"].iloc[0], table.groupby("switch_logsnr")["png_bytes"].mean()
    plain = table[table["sample"] == "ordinary"]["png_bytes"].mean()
    errors = table.groupby("switch_logsnr")["error_nats"].median() / size
    of_model = rows[rows["model"] == model].set_index(["id", "condition"])
    lines = []
    for switch in sorted(png.index, reverse=True):
        gain, denser = (
            of_model.loc[(name, f"switch at λ = {switch:g}")] for name in ("hd-gain", "hd-always")
        )
        lines.append(
            {
                "model": model,
                "switch λ": f"{round(switch, 2) + 0:g}",
                "pairs": gain["n"],
                "gain in log p, nats/dim": text(interval(gain)),
                "share of pairs where HD is denser": text(interval(denser)),
                "estimated error, nats/dim": f"{errors[switch]:.2g}",
                "PNG bytes, HD (ordinary)": f"{png[switch]:,.0f} ({plain:,.0f})",
            }
        )
    return pd.DataFrame(lines)


def guidance(model: str, folder: Path) -> pd.DataFrame:
    """Guided against strength 0 of the same seeds: log-density, detail, size of files."""
    keys = {"index": "seed", "columns": "strength"}
    table = pd.read_csv(folder / model / "control.csv")
    table = table[(table["control"] == "guidance") & trusted(table)]
    density = table.pivot(**keys, values="log_density_nats") / table["dimensions"].iloc[0]
    measures = pd.read_csv(folder / model / "control_measures.csv")
    detail, size = (measures.pivot(**keys, values=v) for v in ("gradient_energy", "png_bytes"))
    level, lines = Bootstrap(), []
    for strength in (s for s in density if s != 0):
        gain = (density[strength] - density[0.0]).dropna()
        ratios = [ratio_of_means(part[strength], part[0.0]) for part in (detail, size)]
        lines.append(
            {
                "model": model,
                "strength": f"{strength:+g}",
                "log p gained, nats/dim": text(mean(gain).interval(level)),
                "of samples": len(gain),
                "gradient energy, ratio": text(ratios[0].interval(level)),
                "PNG bytes, ratio": text(ratios[1].interval(level)),
                "of images": len(size),
            }
        )
    return pd.DataFrame(lines)


def interval(row: pd.Series) -> Interval:
    return Interval(row["ours"], row["ci_low"], row["ci_high"])


def main() -> None:
    content = yaml.safe_load((CLONE / "workflow/claims.yaml").read_text(encoding="utf-8"))
    register = Register.of(content)
    parts, found, guided = [], [], []
    for folder in map(Path, sys.argv[1:]):
        rows = pd.concat([read_rows(file, COLUMNS) for file in sorted(folder.glob("*.csv"))])
        parts.append(rows)
        decided = rows[(rows["id"] == "hd-gain") & (rows["verdict"] != NOT_TESTED)]
        for model in decided["model"].unique():
            found.append(gains(rows, model, folder.parent))
            if (folder.parent / model / "control.csv").exists():
                guided.append(guidance(model, folder.parent))
    everything = pd.concat(parts, ignore_index=True)
    everything = everything[everything["model"].str.contains("/")]  # no closed forms
    tables = {
        "verdicts": verdicts(register, everything[everything["verdict"] != NOT_TESTED]),
        "numbers": numbers(register, everything),
        "gains": pd.concat(found),
    }
    if guided:
        tables["guidance"] = pd.concat(guided)
    for name, table in tables.items():
        table.to_csv(OUT / f"published_{name}.csv", index=False)


if __name__ == "__main__":
    main()
