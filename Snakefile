"""Log-densities tracked along the reverse process; a topic has rules, a notebook and claims."""

import os
import sys

from snakemake.utils import min_version

min_version("9.27")
CLONE = str(workflow.current_basedir)  # also where this is another workflow's module
if not os.path.isdir(CLONE):
    sys.exit(
        f"{CLONE}: no local clone; at an address, name workflow/Snakefile (docs/how-to/module.md)"
    )
if prefix := workflow.modifier.path_modifier.prefix:
    sys.exit(f"prefix: {prefix!r} found, allowed: none (docs/how-to/module.md)")


configfile: os.path.join(CLONE, "config.yaml")


report: "workflow/report/workflow.rst"


sys.path[:0] = [os.path.join(CLONE, "workflow"), os.path.join(CLONE, "src")]
from applicability import lines
from attempts import grows
from chunks import chunk_files, chunk_range
from figures import figure, figures, shown_table
from plan import environment, kind, stems, topics, use_clone, use_python_of_path
from register import absent, read_register
from revision import files_hash
from validation import bundled_model, has_classifier, planned

MODELS, LEFT_OUT = planned(config)  # LEFT_OUT: topics that cannot take a model, with the reason
UNFIT = {(row["topic"], row["model"]) for row in LEFT_OUT}
DEEP = [name for name in MODELS if name not in config["briefly"]]
PICTURED = {name: MODELS[name] for name in MODELS if ("high_density", name) not in UNFIT}
IN_DEPTH = {name: MODELS[name] for name in DEEP if ("control", name) not in UNFIT}
GUIDED = [name for name in IN_DEPTH if name in PICTURED]
BLURRED = [name for name in DEEP if ("blur", name) not in UNFIT]
CLASSIFIED = [
    name for name in DEEP if ("windows", name) not in UNFIT and has_classifier(MODELS[name]["data"])
]

use_clone(CLONE)
use_python_of_path()
GPU = int(config["execution"]["device"].startswith("cuda"))  # of jobs that run networks
ENVIRONMENT = environment(config["execution"]["device"])
BOOTSTRAP = {key: config[key] for key in ("confidence", "resamples", "seed")}
AVAILABLE = {
    "closed forms": True,
    "models": MODELS,
    "models of pictures": PICTURED,
    "models in depth": IN_DEPTH,
    "models whose pictures can be blurred": BLURRED,
    "models with a classifier": CLASSIFIED,
}
TOPICS = topics(AVAILABLE)
if workflow.is_main_process:
    for line in lines(LEFT_OUT):
        print(line, file=sys.stderr)


wildcard_constraints:
    dataset="[^/]+",
    model="[^/]+",
    topic="[a-z_]+",
    chunk=r"\d+",


# Users of the internet, and what takes no time: never jobs of a cluster.
localrules:
    fetch_model,
    fetch_inception,
    resolved_config,
    left_out,
    report,


rule all:
    """Everything: tables, figures, claims, notebooks and the report."""
    default_target: True
    input:
        "results/report.html",


for part in ["jobs", "models", "report", "training", *TOPICS]:

    include: f"workflow/rules/{part}.smk"
