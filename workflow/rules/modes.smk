# Modes of p(x_s|x_t): both equations against Newton's method, their failures, curves and cost.

MODE_CONFIG = config["modes"]
MODE_SETTINGS = {key: config[key] for key in ("seed", "logsnr_min", "logsnr_max")}
MODE_SETTINGS |= {key: MODE_CONFIG[key] for key in ("n_samples", "steps", "starts")}


ruleorder: modes_table > theory_table
ruleorder: mode_cost > theory_table
ruleorder: mode_network > theory_table


rule modes_table:
    """End points of the mode ODE and the HD-ODE against Newton's method, and failure detection."""
    output:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
    log:
        "results/logs/modes_table.log",
    benchmark:
        "results/benchmarks/modes_table.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        dimensions=MODE_CONFIG["dimensions"],
        logsnr_t=MODE_CONFIG["logsnr_t"],
        settings=MODE_SETTINGS,
        code=code_hash("workflow/scripts/modes_table.py"),
    script:
        "../scripts/modes_table.py"


rule mode_curves:
    """Curves of both equations on a 1-D and a 2-D mixture, over the density."""
    output:
        "results/theory/mode_curves.npz",
    log:
        "results/logs/mode_curves.log",
    benchmark:
        "results/benchmarks/mode_curves.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        curves=MODE_CONFIG["curves"],
        settings=MODE_SETTINGS,
        code=code_hash("workflow/scripts/modes_curves.py"),
    script:
        "../scripts/modes_curves.py"


rule mode_cost:
    """CPU time and memory of the corrected drift against the number of dimensions."""
    output:
        "results/theory/mode_cost.csv",
    log:
        "results/logs/mode_cost.log",
    benchmark:
        "results/benchmarks/mode_cost.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        dimensions=MODE_CONFIG["cost"]["dimensions"],
        repeats=MODE_CONFIG["cost"]["repeats"],
        code=code_hash("workflow/scripts/modes_cost.py"),
    script:
        "../scripts/modes_cost.py"


rule mode_network:
    """Size of the term that the HD-ODE drops, on a network trained here on 8×8 images."""
    output:
        along="results/theory/mode_network.csv",
        ends="results/theory/mode_network_ends.csv",
    log:
        "results/logs/mode_network.log",
    benchmark:
        "results/benchmarks/mode_network.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        training=MODE_CONFIG["network"]["training"],
        curves=MODE_CONFIG["network"]["curves"],
        seed=config["seed"],
        code=code_hash("workflow/scripts/modes_network.py"),
    script:
        "../scripts/modes_network.py"


rule modes_claims:
    """Claim 5: the mode ODE finds the mode, the HD-ODE comes near it."""
    input:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
        network="results/theory/mode_network.csv",
    output:
        "results/claims/modes.csv",
    log:
        "results/logs/modes_claims.log",
    benchmark:
        "results/benchmarks/modes_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/modes_claims.py"),
    script:
        "../scripts/modes_claims.py"


rule modes:
    """Modes: curves, end-point errors, failure detection, cost."""
    input:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
        curves="results/theory/mode_curves.npz",
        cost="results/theory/mode_cost.csv",
        network="results/theory/mode_network.csv",
        ends="results/theory/mode_network_ends.csv",
        claims="results/claims/modes.csv",
    output:
        report(
            "results/figures/modes_curves.png",
            caption="../report/modes_curves.rst",
            category="2 Closed forms",
            labels={"figure": "curves of the mode over the density"},
        ),
        "results/figures/modes_curves.svg",
        report(
            "results/figures/modes_errors.png",
            caption="../report/modes_errors.rst",
            category="2 Closed forms",
            labels={"figure": "distance of the end points to the mode"},
        ),
        "results/figures/modes_errors.svg",
        report(
            "results/figures/modes_cost.png",
            caption="../report/modes_cost.rst",
            category="2 Closed forms",
            labels={"figure": "cost of the mode ODE against dimension"},
        ),
        "results/figures/modes_cost.svg",
    log:
        notebook="results/notebooks/modes.ipynb",
    benchmark:
        "results/benchmarks/modes.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash("notebooks/modes.ipynb"),
    notebook:
        "../../notebooks/modes.ipynb"
