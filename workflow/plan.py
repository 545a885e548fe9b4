"""What a configuration asks for: topics, environment, threads."""

import os

BY_MODEL = ["likelihood", "high_density", "compression"]


def topics(models, in_depth, classified) -> list[str]:
    """Topics of the run: closed forms always, the others where there are models for them."""
    chosen = ["theory", "modes", "bias"] + BY_MODEL * bool(models)
    return chosen + ["blur", "control"] * bool(in_depth) + ["windows"] * bool(classified)


def environment(device: str) -> str:
    """The file for --sdm conda, relative to the rules."""
    return f"../../envs/{'gpu' if device.startswith('cuda') else 'cpu'}.yaml"


def use_clone(clone: str) -> None:
    """Jobs import the library of this clone and run one thread each, unless the caller set more."""
    threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(threads, PYTHONPATH=os.path.join(clone, "src"))
