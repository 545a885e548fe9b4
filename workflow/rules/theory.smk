# Closed-form densities: is the tracked log-density the true one, and do HD samples score higher?

THEORY = {key: config[key] for key in ("seed", "logsnr_min", "logsnr_max")}
THEORY["n_samples"] = config["theory"]["n_samples"]


rule theory_tracking_part:
    """Error of every tracker against steps, in one number of dimensions."""
    output:
        "results/theory/parts/tracking-{dimensions}.csv",
    log:
        "results/logs/theory_tracking/{dimensions}.log",
    benchmark:
        "results/benchmarks/theory_tracking/{dimensions}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        steps=config["theory"]["steps"],
        settings=THEORY,
        code=code_hash("workflow/scripts/theory_tracking.py"),
    script:
        "../scripts/theory_tracking.py"


rule theory_high_density_part:
    """True log-densities of HD and of ordinary samples from the same point."""
    output:
        "results/theory/parts/high_density-{dimensions}.csv",
    log:
        "results/logs/theory_high_density/{dimensions}.log",
    benchmark:
        "results/benchmarks/theory_high_density/{dimensions}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        switch_logsnr=config["theory"]["switch_logsnr"],
        steps=max(config["theory"]["steps"]),
        settings=THEORY,
        code=code_hash("workflow/scripts/theory_high_density.py"),
    script:
        "../scripts/theory_high_density.py"


rule theory_table:
    """The parts of one closed-form experiment, one below the other."""
    input:
        expand(
            "results/theory/parts/{{table}}-{dimensions}.csv",
            dimensions=config["theory"]["dimensions"],
        ),
    output:
        "results/theory/{table,[a-z_]+}.csv",
    log:
        "results/logs/theory_table/{table}.log",
    benchmark:
        "results/benchmarks/theory_table/{table}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash("workflow/scripts/concatenate.py"),
    script:
        "../scripts/concatenate.py"


rule theory_claims:
    """Claims 2 and 6 on closed forms: trackers are right, HD samples have higher density."""
    input:
        tracking="results/theory/tracking.csv",
        high_density="results/theory/high_density.csv",
    output:
        "results/claims/theory.csv",
    log:
        "results/logs/theory_claims.log",
    benchmark:
        "results/benchmarks/theory_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/theory_claims.py"),
    script:
        "../scripts/theory_claims.py"


rule theory:
    """Closed forms: tracker errors against steps, HD samples against ordinary ones."""
    input:
        tracking="results/theory/tracking.csv",
        high_density="results/theory/high_density.csv",
        claims="results/claims/theory.csv",
    output:
        report(
            "results/figures/theory_tracking.png",
            caption="../report/theory_tracking.rst",
            category="2 Closed forms",
            labels={"figure": "error of each tracker against cost"},
        ),
        "results/figures/theory_tracking.svg",
        report(
            "results/figures/theory_high_density.png",
            caption="../report/theory_high_density.rst",
            category="2 Closed forms",
            labels={"figure": "gain of HD samples against switch point"},
        ),
        "results/figures/theory_high_density.svg",
    log:
        notebook="results/notebooks/theory.ipynb",
    benchmark:
        "results/benchmarks/theory.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash("notebooks/theory.ipynb"),
    notebook:
        "../../notebooks/theory.ipynb"
