# What belongs to a model and not to one experiment: the model itself, and its Stein table.

NETWORK = {"mem_mb": grows(3000), "runtime": grows(240), "gpu": GPU}  # of a job that runs networks
# High-density samples come in chunks; other topics take their images.
PAIRS_A_JOB = min(config["high_density"]["n_pairs"], config["chunk_size"])


rule fetch_model:
    # It and fetch_inception alone touch the network; later runs take all from the cache.
    """A model brought onto this machine: where it is, and the SHA-256 of its files."""
    input:
        lambda w: list(MODELS[f"{w.dataset}/{w.model}"].get("files", {})),
    output:
        "results/{dataset}/{model}/model.json",
    log:
        "results/logs/{dataset}/{model}/fetch_model.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/fetch_model.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        spec=lambda w: MODELS[f"{w.dataset}/{w.model}"]["spec"],
        files=lambda w: MODELS[f"{w.dataset}/{w.model}"].get("files"),
        downloads=config["downloads"],
    script:
        "../scripts/fetch_model.py"


rule fetch_inception:
    """The Inception network of FID brought onto this machine: where it is, and its SHA-256."""
    output:
        "results/inception.json",
    log:
        "results/logs/fetch_inception.log",
    benchmark:
        "results/benchmarks/fetch_inception.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        inception=config["high_density"]["inception"],
        downloads=config["downloads"],
    script:
        "../scripts/fetch_inception.py"


use rule job from stein as stein with:
    """Stein table of a model, in the basis that serves it best."""
    input:
        lambda w: [
            m["reference"]
            for m in [MODELS[f"{w.dataset}/{w.model}"]]
            if m.keys() & {"spec", "trained"}
        ],
    output:
        "results/{dataset}/{model}/stein.npz",
    pathvars:
        job="{dataset}/{model}/stein",
    priority: 2  # all jobs of a model wait for it
    resources:
        mem_mb=grows(3000),
        runtime=grows(60),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=config["stein"],
        seed=config["seed"],
