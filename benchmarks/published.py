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
from cartoonists.report.scoreboard import SIGNS, scoreboard
from cartoonists.statistics.claims import Interval
from cartoonists.statistics.estimates import read_rows

CLONE = Path(__file__).resolve().parents[1]
OUT = Path(__file__).parent / "results"
NUMBERS = (  # claims whose numbers are shown, not the verdict alone
    "tracked-follows-ode", "tracked-offset", "hd-less-detail", "hd-late-cartoons", "hd-early-blur",
    "cartoon-or-blur", "blur-raises", "png-follows-density", "guidance-monotone", "guidance-detail",
    "alignment-agrees", "local-dimension-density",
)  # fmt: skip


def ours() -> dict[str, str]:
    """Verdict of each claim in the README's scoreboard, by id."""
    rows = re.findall(
        r"^\| \[\d+\]\([^)#]*#([\w-]+)\) \|.*?\| . ([a-z ]+) \|",
        (CLONE / "README.md").read_text(encoding="utf-8"), re.M,
    )  # fmt: skip
    return dict(rows)


def verdicts(register: Register, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A line a claim and a column a model; and the deciding numbers of some claims."""
    known, columns, numbers = ours(), {}, []
    for model, part in rows[rows["model"] != ""].groupby("model", sort=False):
        board = scoreboard(register, part).set_index("id")
        board = board[board["rows"] > 0]
        columns[model] = board["verdict"].map(lambda v: f"{SIGNS[v]} {v}")
        shown = board.loc[[name for name in NUMBERS if name in board.index]].reset_index()
        numbers.append(
            shown.assign(model=model)[["id", "statement", "model", "verdict", "numbers"]]
        )
    table = pd.DataFrame(columns)
    entries = [entry for entry in register.entries if entry.id in table.index]
    table = table.loc[[entry.id for entry in entries]].fillna("")
    here = [f"{SIGNS[known[e.id]]} {known[e.id]}" if e.id in known else "" for e in entries]
    table.insert(0, "ours", here)
    table.insert(0, "claim", [f"[{e.number}](claims.md#{e.id}) {e.title}" for e in entries])
    return table, pd.concat(numbers).sort_values("id", kind="stable")


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
                "switch λ": f"{switch:.3g}",
                "pairs": gain["n"],
                "gain in log p, nats/dim": text(interval(gain)),
                "share of pairs where HD is denser": text(interval(denser)),
                "step-halving error, nats/dim": f"{errors[switch]:.2g}",
                "PNG bytes, HD (ordinary)": f"{png[switch]:,.0f} ({plain:,.0f})",
            }
        )
    return pd.DataFrame(lines)


def interval(row: pd.Series) -> Interval:
    return Interval(row["ours"], row["ci_low"], row["ci_high"])


def main() -> None:
    content = yaml.safe_load((CLONE / "workflow/claims.yaml").read_text(encoding="utf-8"))
    parts, found = [], []
    for folder in map(Path, sys.argv[1:]):
        rows = pd.concat([read_rows(file, COLUMNS) for file in sorted(folder.glob("*.csv"))])
        parts.append(rows)
        for model in rows[rows["id"] == "hd-gain"]["model"].unique():
            found.append(gains(rows, model, folder.parent))
    table, numbers = verdicts(Register.of(content), pd.concat(parts, ignore_index=True))
    table.to_csv(OUT / "published_verdicts.csv", index=False)
    numbers.to_csv(OUT / "published_numbers.csv", index=False)
    pd.concat(found).to_csv(OUT / "published_gains.csv", index=False)


if __name__ == "__main__":
    main()
