"""What the workflow itself costs: with nothing to do, and in imports.

    python benchmarks/workflow_cost.py FOLDER [--repeats 5]

FOLDER is a clone in which the default run has ended.  Writes workflow_idle.csv (seconds of
``snakemake`` with nothing to do) and workflow_imports.csv (processor seconds that the imports of a
script or notebook take, times its jobs, against the seconds of all jobs in results/benchmarks: each
job has one thread and, in a run on an idle machine, a core of its own; Snakemake's own figure of
processor time is a sample that leaves out the end of a job).  What a script imports on demand
counts: diffusers where a network is loaded.
"""

import argparse
import ast
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from interleaved import write

RULE = re.compile(
    r"^(?:rule (\w+)|use rule job from (\w+) as (\w+) with):\n((?:[ \t].*\n|\n)*)", re.M
)
JOB = re.compile(r'^    pathvars:\n        job="([^"]+)"', re.M)
NETWORKS = "load_model("  # in a script: diffusers is imported when a network is loaded
ON_DEMAND = """
import cartoonists
from diffusers import UNet2DModel
"""
IDLE = ["-m", "snakemake", "--cores", "1", "--quiet", "all"]


def field(block: str, name: str) -> str | None:
    found = re.search(rf'^    {name}:\n        "([^"]+)"', block, re.M)
    return found[1] if found else None


def rules(folder: Path) -> dict[str, tuple[re.Pattern, str]]:
    """Of each rule the files of its measured times, as a pattern, and its script or notebook."""
    found: dict[str, tuple[re.Pattern, str]] = {}
    for path in sorted((folder / "workflow" / "rules").glob("*.smk")):
        for match in RULE.finditer(path.read_text()):
            plain, module, name, block = match.groups()
            code, times = field(block, "script"), field(block, "benchmark")
            if module:
                topic = module.removesuffix("_notebook")
                notebook = f"../../notebooks/{topic}.ipynb"
                code = f"../scripts/{module}.py" if topic == module else notebook
                job = JOB.search(block)
                times = f"results/benchmarks/{job[1] if job else topic}.tsv"
            if code and times:
                pattern = re.sub(r"\\\{\w+(,[^}]*)?\\\}", "[^/]+", re.escape(times))
                found[plain or name] = re.compile(pattern), code
    return found


def source(script: Path) -> str:
    """Python of a script, or of the code cells of a notebook."""
    text = script.read_text()
    if script.suffix == ".py":
        return text
    cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(cell) for cell in cells)


def import_seconds(script: Path, folder: Path, repeats: int) -> float:
    """Least processor seconds of an interpreter that imports what the script or notebook does."""
    code = source(script)
    tree = ast.parse(code)
    lines = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    lines += [ON_DEMAND] * (NETWORKS in code)
    environment = {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    seconds = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def imports(folder: Path, repeats: int) -> pd.DataFrame:
    """A row a script: jobs, seconds of imports, seconds of all of its jobs."""
    measured = {path.relative_to(folder).as_posix(): pd.read_csv(path, sep="\t")["s"].sum()
                for path in (folder / "results" / "benchmarks").rglob("*.tsv")}  # fmt: skip
    rows: dict[str, dict] = {}
    for pattern, code in rules(folder).values():
        jobs = [name for name in measured if pattern.fullmatch(name)]
        script = folder / "workflow" / "rules" / code
        if not jobs:
            continue
        row = rows.setdefault(
            script.stem,
            {"script": script.stem, "jobs": 0, "job_s": 0.0,
             "import_cpu_s": import_seconds(script, folder, repeats)},
        )  # fmt: skip
        row["jobs"] += len(jobs)
        row["job_s"] += sum(measured.pop(name) for name in jobs)
    table = pd.DataFrame(rows.values())
    table["imports_cpu_s"] = table["jobs"] * table["import_cpu_s"]
    rest = {"script": "(shell commands)", "jobs": len(measured),
            "job_s": sum(measured.values())}  # fmt: skip
    table = pd.concat([table, pd.DataFrame([rest])], ignore_index=True)
    total = {"script": "all", "jobs": table["jobs"].sum(), "job_s": table["job_s"].sum(),
             "imports_cpu_s": table["imports_cpu_s"].sum()}  # fmt: skip
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    table["share_of_run"] = table["imports_cpu_s"] / total["job_s"]
    return table.sort_values("imports_cpu_s", ascending=False)


def idle(folder: Path, repeats: int) -> pd.DataFrame:
    """Seconds of ``snakemake`` where all results are there."""
    rows = []
    for repeat in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *IDLE], cwd=folder, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append({"repeat": repeat, "clock_s": time.perf_counter() - start, "cpu_s": cpu})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("idle", "imports"))
    given = parser.parse_args()
    if given.only in (None, "idle"):
        print(write("workflow_idle", idle(given.folder.resolve(), given.repeats)))
    if given.only in (None, "imports"):
        print(write("workflow_imports", imports(given.folder.resolve(), min(given.repeats, 3))))


if __name__ == "__main__":
    main()
