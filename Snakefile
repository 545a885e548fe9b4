"""Diffusion models as cartoonists: log-densities tracked along the reverse process.

A topic has rules in workflow/rules, figures in notebooks and claims in results/claims.
"""

import os
import sys

from snakemake.utils import min_version

min_version("9.27")


CLONE = str(workflow.current_basedir)  # also where this is another workflow's module


configfile: os.path.join(CLONE, "config.yaml")


report: "workflow/report/workflow.rst"


sys.path.insert(0, os.path.join(CLONE, "workflow"))
from attempts import grows
from chunks import chunk_files, chunk_range
from revision import code_hash
from validation import checked_models, has_classifier

MODELS = checked_models(config)
IN_DEPTH = {name: MODELS[name] for name in MODELS if name not in config["briefly"]}
CLASSIFIED = [name for name in IN_DEPTH if has_classifier(MODELS[name]["data"])]

# One thread a job, and the library of this clone.
THREADS = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
os.environ.update(THREADS, PYTHONPATH=os.path.join(CLONE, "src"))

# GPUs of a job that runs networks, a request to a cluster.
GPU = int(config["execution"]["device"].startswith("cuda"))

# For --sdm conda, relative to the rules.
ENVIRONMENT = f"../../envs/{'gpu' if GPU else 'cpu'}.yaml"

BOOTSTRAP = {key: config[key] for key in ("confidence", "resamples", "seed")}
TOPICS = ["theory", "modes", "bias"]
TOPICS += ["likelihood", "high_density", "compression"] * bool(MODELS)
TOPICS += ["blur", "control"] * bool(IN_DEPTH) + ["windows"] * bool(CLASSIFIED)


wildcard_constraints:
    dataset="[^/]+",
    model="[^/]+",
    topic="[a-z_]+",
    chunk=r"\d+",


# The network's only users, and what takes no time: never jobs of a cluster.
localrules:
    fetch_model,
    fetch_inception,
    resolved_config,
    report,


rule all:
    """Everything: tables, figures, claims, notebooks and the report."""
    default_target: True
    input:
        "results/report.html",


for part in ["models", "report", "training", *TOPICS]:

    include: f"workflow/rules/{part}.smk"
