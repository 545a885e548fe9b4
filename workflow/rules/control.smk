# Control of the log-density: guidance with and without noise, latents, temperature, score alignment.

CONTROL = config["control"]
CONTROL_SETTINGS = [
    "quantiles",
    "n_compared",
    "steps",
    "stochasticity",
    "noise_steps",
    "noise",
    "bound",
    "width",
]


# Its closed forms are one job; the tables of the theory topic are gathered from parts.
ruleorder: control_closed_forms > theory_table


rule control_closed_forms:
    """Formula (★) along every process, every control, and score alignment, on a mixture."""
    output:
        paths="results/theory/paths.csv",
        control="results/theory/control.csv",
        alignment="results/theory/alignment.csv",
    log:
        "results/logs/control_closed_forms.log",
    benchmark:
        "results/benchmarks/control_closed_forms.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        settings=CONTROL["closed_forms"],
        quantiles=CONTROL["quantiles"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),
        seed=config["seed"],
        code=code_hash("workflow/scripts/control_closed_forms.py"),
    script:
        "../scripts/control_closed_forms.py"


rule control_model:
    """PF-ODE log-density reached by every control, guided images, score alignment."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/control.csv",
        images="results/{dataset}/{model}/control_images.npz",
        alignment="results/{dataset}/{model}/alignment.csv",
    log:
        "results/logs/{dataset}/{model}/control.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/control.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seed=config["seed"],
        n_samples=CONTROL["n_samples"],
        n_aligned=CONTROL["n_aligned"],
        shown=CONTROL["n_shown"],
        settings={key: CONTROL[key] for key in CONTROL_SETTINGS},
        flow=config["high_density"]["flow"],  # the same estimator for all samples
        code=code_hash("workflow/scripts/control_model.py"),
    script:
        "../scripts/control_model.py"


rule control_claims:
    """Claim 10: guidance, prior guidance and score alignment move the log-density."""
    input:
        theory=expand("results/theory/{table}.csv", table=["control", "alignment", "paths"]),
        models=expand("results/{name}/{table}.csv", name=IN_DEPTH, table=["control", "alignment"]),
    output:
        "results/claims/control.csv",
    log:
        "results/logs/control_claims.log",
    benchmark:
        "results/benchmarks/control_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(IN_DEPTH),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/control_claims.py"),
    script:
        "../scripts/control_claims.py"


rule control:
    """Log-density reached against the quantile; one seed from low to high density."""
    input:
        theory=expand("results/theory/{table}.csv", table=["control", "alignment", "paths"]),
        tables=expand("results/{name}/{table}.csv", name=IN_DEPTH, table=["control", "alignment"]),
        images=expand("results/{name}/control_images.npz", name=IN_DEPTH),
        claims="results/claims/control.csv",
    output:
        report(
            "results/figures/control_paths.png",
            caption="../report/control_paths.rst",
            category="2 Closed forms",
            labels={"figure": "tracking along every process"},
        ),
        "results/figures/control_paths.svg",
        report(
            "results/figures/control_theory.png",
            caption="../report/control_theory.rst",
            category="2 Closed forms",
            labels={"figure": "density control on a mixture"},
        ),
        "results/figures/control_theory.svg",
        report(
            "results/figures/control_curves.png",
            caption="../report/control_curves.rst",
            category="3 Image models",
            subcategory="Density control",
            labels={"figure": "log-density reached against the quantile"},
        ),
        "results/figures/control_curves.svg",
        report(
            expand("results/figures/control_images/{name}.png", name=IN_DEPTH),
            caption="../report/control_images.rst",
            category="3 Image models",
            subcategory="Density control",
        ),
        expand("results/figures/control_images/{name}.svg", name=IN_DEPTH),
    log:
        notebook="results/notebooks/control.ipynb",
    benchmark:
        "results/benchmarks/control.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(IN_DEPTH),
        code=code_hash("notebooks/control.ipynb"),
    notebook:
        "../../notebooks/control.ipynb"
