"""The reference run: what a run has left under results/, small enough for git, in docs/results/.

Figures, the scoreboard, the tables of claims, the notebooks as pages and the explorer, with the
commit, configuration, machine and time that made each.  Called by `make results` (refresh.py).
"""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml
from jinja2 import Environment
from nbconvert import MarkdownExporter
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from traitlets.config import Config

from cartoonists.files.artifacts import read_record, write_json
from cartoonists.report.showing import counts, markdown

WORKFLOW = Path(__file__).parent
LARGEST, SPARE = 6_000_000, 100_000  # bytes of the folder, and kept for its page
FIGURE, PICTURE = (1200, 160), (720, 48)  # pixels across at most, and colours
TABLES = ("scoreboard.csv", "claims.csv", "self_checks.csv", "timings.csv", "config.yaml")
PAGE = "index.md"
RUN = "run.json"  # commit, machine and time


def fill(results: Path, folder: Path, default: Mapping[str, Any]) -> None:
    """Replace ``folder`` by what the run under ``results`` has left.

    ``default`` is the default configuration.  Figures, notebooks and an explorer that the run has
    not made are left out, and so is an explorer that is too large beside the rest.  Raises OSError
    where a table is missing, ValueError where the folder would be too large.
    """
    for name in TABLES:
        (results / name).stat()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in TABLES:
        shutil.copyfile(results / name, folder / name)
    write_json(folder / RUN, origin(results, default))
    for figure in figure_files(results):
        shrink(results / figure, folder / figure, *FIGURE)
    for notebook in sorted((results / "notebooks").glob("*.ipynb")):
        notebook_page(notebook, folder / "notebooks")
    explorer = results / "explorer.html"
    if explorer.exists() and size(folder) + explorer.stat().st_size < LARGEST - SPARE:
        shutil.copyfile(explorer, folder / "explorer.html")
    (folder / PAGE).write_text(page(folder), encoding="utf-8")
    if (found := size(folder)) > LARGEST:
        raise ValueError(f"{folder}: {found} bytes found, allowed: at most {LARGEST}")


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def figure_files(folder: Path) -> list[Path]:
    """Figures as PNG, relative to the folder that has ``figures/``."""
    return sorted(path.relative_to(folder) for path in (folder / "figures").rglob("*.png"))


# --- what made it ---------------------------------------------------------------------------------


def origin(results: Path, default: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, versions, configuration, machine, and the time of every file, of one run."""
    record = read_record(results / "scoreboard.csv")
    config = yaml.safe_load((results / "config.yaml").read_text(encoding="utf-8"))
    other = sorted(key for key in default if config.get(key) != default[key])
    names = [*map(Path, TABLES), *figure_files(results)]
    topics = {path.stem: read_record(path)["revision"] for path in _measured(results)}
    return {
        "commit": record["revision"],
        "commit_of_topic": topics,
        "versions": {"python": record["python"], **record["versions"]},
        "configuration": f"other than the default: {', '.join(other)}" if other else "the default",
        "machine": read_record(results / "timings.csv")["machine"],
        "made": {name.as_posix(): _made(results / name) for name in names},
    }


def _measured(results: Path) -> list[Path]:
    return sorted((results / "measured").glob("*.csv"))


def _made(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")


# --- pictures and notebooks -----------------------------------------------------------------------


def shrink(source: Path, target: Path, widest: int, colours: int) -> None:
    """A PNG of so many colours, and at most ``widest`` pixels across; it keeps its record."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source, formats=["PNG"]) as image:
        notes = PngInfo()
        notes.add_text("Description", str(image.info.get("Description", "{}")))
        picture = image.convert("RGB")
    if picture.width > widest:
        height = round(picture.height * widest / picture.width)
        picture = picture.resize((widest, height), Image.Resampling.LANCZOS)
    picture.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True, pnginfo=notes)


def notebook_page(notebook: Path, folder: Path) -> None:
    """An executed notebook as Markdown: its text, tables and pictures, without the code."""
    folder.mkdir(parents=True, exist_ok=True)
    exporter = MarkdownExporter(config=Config({"TemplateExporter": {"exclude_input": True}}))
    content = nbformat.read(notebook, as_version=4)
    text, resources = exporter.from_notebook_node(content, {"unique_key": notebook.stem})
    for name, data in resources["outputs"].items():
        picture = folder / name
        picture.write_bytes(data)
        if picture.suffix == ".png":
            shrink(picture, picture, *PICTURE)
    code = f"*With its code: `notebooks/{notebook.name}`; the run: [the results](../{PAGE}).*"
    (folder / f"{notebook.stem}.md").write_text(f"{text.strip()}\n\n{code}\n", encoding="utf-8")


# --- the page -------------------------------------------------------------------------------------


def page(folder: Path) -> str:
    """The page of the folder, from the tables, figures and notebooks that are in it."""
    board = pd.read_csv(folder / "scoreboard.csv", keep_default_na=False)
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    parts = [
        "# Results of the reference run",
        _origin_words(run, folder),
        counts(board),
        markdown(board, "../claims.md", lambda place: _link(folder, place)),
        "## Figures",
        *[_figure(path, run, config) for path in figure_files(folder)],
    ]
    return "\n\n".join(parts) + "\n"


def _link(folder: Path, place: str) -> str:
    """The address of a figure or notebook; of what is not there, that of its source."""
    path = Path(place.removeprefix("results/"))
    if path.suffix == ".ipynb":
        path = path.with_suffix(".md")
    if path.suffix == ".png" and (folder / path).exists():
        return f"#{_anchor(path)}"
    return path.as_posix() if (folder / path).exists() else "#figures"


def _anchor(figure: Path) -> str:
    return "-".join(figure.with_suffix("").parts[1:])


def _origin_words(run: Mapping[str, Any], folder: Path) -> str:
    machine, versions = run["machine"], run["versions"]
    software = ", ".join(f"{name} {number}" for name, number in versions.items())
    rows = {
        "commit": f"`{run['commit']}`",
        "configuration": f"{run['configuration']} ([config.yaml](config.yaml))",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        "made": run["made"]["scoreboard.csv"],
        "with": software,
        "tables": ", ".join(f"[{name}]({name})" for name in TABLES[:-1]),
    }
    if notebooks := sorted((folder / "notebooks").glob("*.md")):
        links = [f"[{path.stem}](notebooks/{path.name})" for path in notebooks]
        rows["notebooks"] = ", ".join(links)
    if (folder / "explorer.html").exists():
        rows["explorer"] = "[samples against the switch point and the strength](explorer.html)"
    lines = [f"| {name} | {words} |" for name, words in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _figure(path: Path, run: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """A figure with its caption, and the commit and time that made it."""
    name = path.parts[1].removesuffix(".png")
    topic = next((topic for topic in run["commit_of_topic"] if name.startswith(topic)), "")
    commit = run["commit_of_topic"].get(topic, run["commit"])
    title = " ".join(path.with_suffix("").parts[1:])
    lines = [
        f"### {title} {{#{_anchor(path)}}}",
        f"![{title}]({path.as_posix()})",
        f"{caption(name, config)} *(`{commit}`, {run['made'][path.as_posix()]})*",
    ]
    return "\n\n".join(lines)


def caption(name: str, config: Mapping[str, Any]) -> str:
    """The caption that the report gives a figure."""
    text = (WORKFLOW / "report" / f"{name}.rst").read_text(encoding="utf-8")
    return Environment().from_string(text).render(snakemake={"config": config}).strip()
