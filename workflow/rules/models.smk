# What belongs to a model and not to one experiment: its Stein table.


rule stein:
    """Stein table of a model, in the basis that serves it best."""
    output:
        "results/{dataset}/{model}/stein.npz",
    log:
        "results/logs/{dataset}/{model}/stein.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/stein.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=config["stein"],
        seed=config["seed"],
        code=code_hash("workflow/scripts/stein.py"),
    script:
        "../scripts/stein.py"
