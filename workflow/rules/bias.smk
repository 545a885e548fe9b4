# The bias of tracked log-densities: the theorem on a closed form, the sandwich on image models.


SECOND_SCORE = {
    table: f"results/theory/second_score{'' if table == 'paths' else '_' + table}.csv"
    for table in ("paths", "levels", "excess")
}


ruleorder: bias_closed_form > theory_table
ruleorder: bias_second_score > theory_table


rule bias_closed_form:
    """E X predicted and measured, over the score's error ε and the data's variance v0."""
    output:
        "results/theory/bias_closed_form.csv",
    log:
        "results/logs/bias_closed_form.log",
    benchmark:
        "results/benchmarks/bias_closed_form.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        settings={k: v for k, v in config["bias"].items() if k != "second_score"},
        seed=config["seed"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),
        code=code_hash("workflow/scripts/bias_closed_form.py"),
    script:
        "../scripts/bias_closed_form.py"


rule bias_second_score:
    """E X of a small network, and of a Gaussian where it is known, by a score of its own paths."""
    output:
        **SECOND_SCORE,
    log:
        "results/logs/bias_second_score.log",
    benchmark:
        "results/benchmarks/bias_second_score.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(60),
    params:
        settings=config["bias"]["second_score"],
        seed=config["seed"],
        code=code_hash("workflow/scripts/bias_second_score.py"),
    script:
        "../scripts/bias_second_score.py"


rule bias_sandwich:
    """The sandwich r ≥ log p ≥ IWAE ≥ ELBO of each sample, from the likelihood table."""
    input:
        "results/{dataset}/{model}/likelihood.csv",
    output:
        "results/{dataset}/{model}/bias.csv",
    log:
        "results/logs/{dataset}/{model}/bias.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/bias.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash("workflow/scripts/bias_sandwich.py"),
    script:
        "../scripts/bias_sandwich.py"


rule bias_claims:
    """Claim 4: the formula for E X, and the sandwich."""
    input:
        **SECOND_SCORE,
        closed_form="results/theory/bias_closed_form.csv",
        models=expand("results/{name}/bias.csv", name=MODELS),
    output:
        "results/claims/bias.csv",
    log:
        "results/logs/bias_claims.log",
    benchmark:
        "results/benchmarks/bias_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        names=list(MODELS),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/bias_claims.py"),
    script:
        "../scripts/bias_claims.py"


rule bias:
    """The bias: predicted against measured, and the sandwich of each model."""
    input:
        **SECOND_SCORE,
        closed_form="results/theory/bias_closed_form.csv",
        models=expand("results/{name}/bias.csv", name=MODELS),
        claims="results/claims/bias.csv",
    output:
        report(
            "results/figures/bias_closed_form.png",
            caption="../report/bias_closed_form.rst",
            category="2 Closed forms",
            labels={"figure": "bias of the tracked value, predicted and measured"},
        ),
        "results/figures/bias_closed_form.svg",
        report(
            "results/figures/bias_second_score.png",
            caption="../report/bias_second_score.rst",
            category="2 Closed forms",
            labels={"figure": "bias of a small network by a second score"},
        ),
        "results/figures/bias_second_score.svg",
        report(
            "results/figures/bias_sandwich.png",
            caption="../report/bias_sandwich.rst",
            category="3 Image models",
            labels={"figure": "tracked value above IWAE, ELBO and PF-ODE"},
        )
        if MODELS
        else [],
        "results/figures/bias_sandwich.svg" if MODELS else [],
    log:
        notebook="results/notebooks/bias.ipynb",
    benchmark:
        "results/benchmarks/bias.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        names=list(MODELS),
        code=code_hash("notebooks/bias.ipynb"),
    notebook:
        "../../notebooks/bias.ipynb"
