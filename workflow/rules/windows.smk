# Critical windows: the noise level at which the class of a sample is decided.

WINDOWS = config["windows"]


# One job; the tables of the theory topic are gathered from parts.
ruleorder: windows_closed_forms > theory_table


rule windows_closed_forms:
    """Share that keeps its component on mixtures, predicted and measured."""
    output:
        "results/theory/windows.csv",
    log:
        "results/logs/windows_closed_forms.log",
    benchmark:
        "results/benchmarks/windows_closed_forms.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        settings=WINDOWS["closed_forms"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),
        seed=config["seed"],
        code=code_hash("workflow/scripts/windows_closed_forms.py"),
    script:
        "../scripts/windows_closed_forms.py"


rule windows_model:
    """Share of a model's samples that keep their class, by the SDE and the HD-ODE."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/windows.csv",
        images="results/{dataset}/{model}/windows_images.npz",
    log:
        "results/logs/{dataset}/{model}/windows.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/windows.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seed=config["seed"],
        settings={key: WINDOWS[key] for key in ("n_samples", "logsnr", "steps")},
        code=code_hash("workflow/scripts/windows_model.py"),
    script:
        "../scripts/windows_model.py"


rule windows_claims:
    """Claim 11: critical windows, predicted against measured."""
    input:
        "results/theory/windows.csv",
        expand("results/{name}/windows.csv", name=CLASSIFIED),
    output:
        "results/claims/windows.csv",
    log:
        "results/logs/windows_claims.log",
    benchmark:
        "results/benchmarks/windows_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(CLASSIFIED),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/windows_claims.py"),
    script:
        "../scripts/windows_claims.py"


rule windows:
    """Share that keeps its class against λ, with HD switch points and branch jumps."""
    input:
        theory="results/theory/windows.csv",
        tables=expand("results/{name}/windows.csv", name=CLASSIFIED),
        claims="results/claims/windows.csv",
    output:
        report(
            "results/figures/windows_mixtures.png",
            caption="../report/windows_mixtures.rst",
            category="2 Closed forms",
            labels={"figure": "critical windows of mixtures"},
        ),
        "results/figures/windows_mixtures.svg",
        report(
            "results/figures/windows_models.png",
            caption="../report/windows_models.rst",
            category="3 Image models",
            labels={"figure": "critical windows of image models"},
        ),
        "results/figures/windows_models.svg",
    log:
        notebook="results/notebooks/windows.ipynb",
    benchmark:
        "results/benchmarks/windows.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(CLASSIFIED),
        switches=config["high_density"]["switch_logsnr"],
        code=code_hash("notebooks/windows.ipynb"),
    notebook:
        "../../notebooks/windows.ipynb"
