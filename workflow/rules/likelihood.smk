# Image models: every log-density of the same samples, of held-out images, and the cost of tracking.

LIKELIHOOD = config["likelihood"]
SAMPLES_A_JOB = min(LIKELIHOOD["n_samples"], config["chunk_size"])
IMAGES_A_JOB = min(LIKELIHOOD["n_images"], config["chunk_size"])
PER_MODEL = ["likelihood", "held_out", "tracking_cost"]


rule likelihood_chunk:
    """Log-densities of the samples of one chunk of seeds, by every estimator."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        "results/{dataset}/{model}/chunks/likelihood-{chunk}.csv",
    log:
        "results/logs/{dataset}/{model}/likelihood-{chunk}.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/likelihood-{chunk}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seeds=lambda w: chunk_range(config["seed"], int(w.chunk), SAMPLES_A_JOB),
        settings=LIKELIHOOD["estimators"],
        code=code_hash("workflow/scripts/likelihood_chunk.py"),
    script:
        "../scripts/likelihood_chunk.py"


rule held_out_chunk:
    """Log-densities and bits/dim of one chunk of held-out images."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        "results/{dataset}/{model}/chunks/held_out-{chunk}.csv",
    log:
        "results/logs/{dataset}/{model}/held_out-{chunk}.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/held_out-{chunk}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        images=lambda w: chunk_range(0, int(w.chunk), IMAGES_A_JOB),
        data_dir=config["data_dir"],
        settings=LIKELIHOOD["estimators"],
        code=code_hash("workflow/scripts/likelihood_held_out.py"),
    script:
        "../scripts/likelihood_held_out.py"


rule likelihood_table:
    """Log-densities of all samples of a model, or of all held-out images."""
    input:
        chunk_files("likelihood", LIKELIHOOD["n_samples"], SAMPLES_A_JOB),
    output:
        "results/{dataset}/{model}/likelihood.csv",
    log:
        "results/logs/{dataset}/{model}/likelihood.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/likelihood.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        keep=("seed", config["seed"] + LIKELIHOOD["n_samples"]),
        code=code_hash("workflow/scripts/concatenate.py"),
    script:
        "../scripts/concatenate.py"


use rule likelihood_table as held_out_table with:
    input:
        chunk_files("held_out", LIKELIHOOD["n_images"], IMAGES_A_JOB),
    output:
        "results/{dataset}/{model}/held_out.csv",
    log:
        "results/logs/{dataset}/{model}/held_out.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/held_out.tsv"
    params:
        keep=("image", LIKELIHOOD["n_images"]),
        code=code_hash("workflow/scripts/concatenate.py"),


rule tracking_cost:
    """CPU time of sampling with and without tracking, interleaved."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        "results/{dataset}/{model}/tracking_cost.csv",
    log:
        "results/logs/{dataset}/{model}/tracking_cost.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/tracking_cost.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(30),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=LIKELIHOOD["tracking_cost"],
        code=code_hash("workflow/scripts/likelihood_tracking_cost.py"),
    script:
        "../scripts/likelihood_tracking_cost.py"


rule likelihood_claims:
    """Claims 1, 3 and 4 on image models: cost of tracking, tracked against PF-ODE, sandwich."""
    input:
        expand("results/{name}/{table}.csv", name=MODELS, table=PER_MODEL),
    output:
        "results/claims/likelihood.csv",
    log:
        "results/logs/likelihood_claims.log",
    benchmark:
        "results/benchmarks/likelihood_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/likelihood_claims.py"),
    script:
        "../scripts/likelihood_claims.py"


rule likelihood:
    """Image models: tracked log-density against PF-ODE, ELBO and IWAE."""
    input:
        expand("results/{name}/{table}.csv", name=MODELS, table=PER_MODEL),
        expand("results/{name}/stein.npz", name=MODELS),
        claims="results/claims/likelihood.csv",
    output:
        report(
            "results/figures/likelihood_scatter.png",
            caption="../report/likelihood_scatter.rst",
            category="3 Image models",
            labels={"figure": "tracked against PF-ODE log-density"},
        ),
        "results/figures/likelihood_scatter.svg",
        report(
            "results/figures/likelihood_sandwich.png",
            caption="../report/likelihood_sandwich.rst",
            category="3 Image models",
            labels={"figure": "every log-density of the same samples"},
        ),
        "results/figures/likelihood_sandwich.svg",
        report(
            "results/figures/likelihood_held_out.png",
            caption="../report/likelihood_held_out.rst",
            category="3 Image models",
            labels={"figure": "bits/dim of held-out images"},
        ),
        "results/figures/likelihood_held_out.svg",
    log:
        notebook="results/notebooks/likelihood.ipynb",
    benchmark:
        "results/benchmarks/likelihood.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        code=code_hash("notebooks/likelihood.ipynb"),
    notebook:
        "../../notebooks/likelihood.ipynb"
