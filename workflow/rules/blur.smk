# What blur, and its controls, do to the log-density of real and of sampled images.

BLUR = config["blur"]


rule blur_table:
    """Log-density of images after blur, noise, contrast and resolution changes of rising strength."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
        samples=chunk_files("high_density", BLUR["n_images"], PAIRS_A_JOB, "npz"),
    output:
        "results/{dataset}/{model}/blur.csv",
    log:
        "results/logs/{dataset}/{model}/blur.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/blur.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=BLUR,
        data_dir=config["data_dir"],
        code=code_hash("workflow/scripts/blur_table.py"),
    script:
        "../scripts/blur_table.py"


rule blur_claims:
    """Claim 8: blur raises the log-density; its controls."""
    input:
        expand("results/{name}/blur.csv", name=IN_DEPTH),
    output:
        "results/claims/blur.csv",
    log:
        "results/logs/blur_claims.log",
    benchmark:
        "results/benchmarks/blur_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(IN_DEPTH),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/blur_claims.py"),
    script:
        "../scripts/blur_claims.py"


rule blur:
    """Log-density against the strength of blur and of its controls, and at each noise level."""
    input:
        expand("results/{name}/blur.csv", name=IN_DEPTH),
        claims="results/claims/blur.csv",
    output:
        report(
            "results/figures/blur_curves.png",
            caption="../report/blur_curves.rst",
            category="3 Image models",
            subcategory="Blur",
            labels={"figure": "log-density against strength"},
        ),
        "results/figures/blur_curves.svg",
        report(
            "results/figures/blur_levels.png",
            caption="../report/blur_levels.rst",
            category="3 Image models",
            subcategory="Blur",
            labels={"figure": "share of blur steps that raise log p at each noise level"},
        ),
        "results/figures/blur_levels.svg",
    log:
        notebook="results/notebooks/blur.ipynb",
    benchmark:
        "results/benchmarks/blur.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(IN_DEPTH),
        code=code_hash("notebooks/blur.ipynb"),
    notebook:
        "../../notebooks/blur.ipynb"
