# Training of the bundled models; not part of `all`.  Recipes: --configfile config/training.yaml

TRAINING = config.get("training", {})


rule train:
    """Train every model of the training configuration; resumes where it was stopped."""
    input:
        expand("results/training/{name}.safetensors", name=TRAINING),


use rule job from own_data as own_data with:
    """Images of one's own, to train on and held out, and beside them what was done to each."""
    output:
        arrays="results/{dataset}/pictures.npz",
        table="results/{dataset}/pictures.csv",
    pathvars:
        job="{dataset}/own_data",
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        # the trainings of a data set agree on these (workflow/validation.py)
        data=lambda w: [
            (s["data"], s["architecture"]["channels"], s["architecture"]["size"])
            for name, s in TRAINING.items()
            if name.startswith(f"{w.dataset}/") and "data" in s
        ][0],


rule train_model:
    """One training: weights, card, and the loss by noise level."""
    input:
        # the model that this one starts from, where its recipe names one
        start=lambda w: [
            f"results/training/{w.dataset}/{start}.safetensors"
            for start in [TRAINING[f"{w.dataset}/{w.model}"]["start"]]
            if start
        ],
        own=lambda w: [
            f"results/{w.dataset}/pictures.npz"
            for settings in [TRAINING[f"{w.dataset}/{w.model}"]]
            if "data" in settings
        ],
    output:
        weights="results/training/{dataset}/{model}.safetensors",
        card="results/training/{dataset}/{model}.json",
        loss="results/training/{dataset}/{model}.csv",
    log:
        "results/logs/training/{dataset}/{model}.log",
    benchmark:
        "results/benchmarks/training/{dataset}/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(4000),
        runtime=grows(2880),
    params:
        # the state outlives a failed or stopped job: it is no output of the rule
        state="results/training/{dataset}/{model}.state.pt",
        settings=lambda w: TRAINING[f"{w.dataset}/{w.model}"],
        data_dir=config["data_dir"],
    script:
        "../scripts/train_model.py"
