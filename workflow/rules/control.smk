# Control of the log-density: guidance with and without noise, latents, temperature, score alignment.
# Runs on models in depth.

CONTROL = config["control"]
CONTROL_SECTION = ("3 Image models", "Density control")
CONTROL_SETTINGS = [
    "strengths",
    "n_measured",
    "n_compared",
    "steps",
    "noise_strengths",
    "noise",
    "bound",
    "width",
]
CONTROL_TABLES = ["control", "control_measures", "control_sets", "alignment"]


use rule job from control_closed_forms as control_closed_forms with:
    """Formula (★) along every process, every control, and score alignment, on a mixture."""
    output:
        paths="results/theory/paths.csv",
        control="results/theory/control.csv",
        alignment="results/theory/alignment.csv",
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        settings=CONTROL["closed_forms"],
        strengths=CONTROL["strengths"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),
        alignment_logsnr=CONTROL["alignment_logsnr"],
        seed=config["seed"],


use rule job from control_model as control_model with:
    """Log-density reached by every control, guided images and their measures, score alignment."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/control.csv",
        measures="results/{dataset}/{model}/control_measures.csv",
        sets="results/{dataset}/{model}/control_sets.csv",
        images="results/{dataset}/{model}/control_images.npz",
        alignment="results/{dataset}/{model}/alignment.csv",
    pathvars:
        job="{dataset}/{model}/control",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seed=config["seed"],
        # a model whose pictures no other topic looks at has those alone that are measured
        n_samples=lambda w: CONTROL[
            "n_samples" if f"{w.dataset}/{w.model}" in GUIDED else "n_measured"
        ],
        n_aligned=CONTROL["n_aligned"],
        data_dir=config["data_dir"],
        confidence=config["confidence"],
        alignment_logsnr=CONTROL["alignment_logsnr"],
        shown=CONTROL["n_shown"],
        settings={key: CONTROL[key] for key in CONTROL_SETTINGS},
        flow=config["high_density"]["flow"],  # the same estimator for all samples


use rule job from control_claims as control_claims with:
    """Claim 10: guidance, prior guidance and score alignment move the log-density."""
    input:
        theory=expand("results/theory/{table}.csv", table=["control", "alignment", "paths"]),
        models=expand("results/{name}/{table}.csv", name=IN_DEPTH, table=CONTROL_TABLES),
        levels=expand("results/{name}/stein.npz", name=IN_DEPTH),
        ordinary=expand("results/{name}/high_density.csv", name=GUIDED),
    output:
        "results/measured/control.csv",
    params:
        models=list(IN_DEPTH),
        bootstrap=BOOTSTRAP,
        logsnr=(config["logsnr_min"], config["logsnr_max"]),


use rule job from control_notebook as control with:
    """Log-density reached against the strength; one seed from low to high density."""
    input:
        theory=expand("results/theory/{table}.csv", table=["control", "alignment", "paths"]),
        tables=expand("results/{name}/{table}.csv", name=IN_DEPTH, table=CONTROL_TABLES),
        images=expand("results/{name}/control_images.npz", name=IN_DEPTH),
        claims="results/claims/control.csv",
    output:
        figure("control_paths", "tracking along every process", "2 Closed forms"),
        figure("control_theory", "density control on a mixture", "2 Closed forms"),
        figure("control_curves", "log-density reached against the strength", *CONTROL_SECTION),
        figure("control_alignment", "score alignment with and without the score", *CONTROL_SECTION),
        figure("control_detail", "detail, file size and quality", *CONTROL_SECTION),
        figures("control_images", IN_DEPTH, *CONTROL_SECTION),
    params:
        models=list(IN_DEPTH),
