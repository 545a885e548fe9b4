# Image models: every log-density of the same samples, of held-out images, and the cost of tracking.
# Runs on models.

LIKELIHOOD = config["likelihood"]
SAMPLES_A_JOB = min(LIKELIHOOD["n_samples"], config["chunk_size"])
IMAGES_A_JOB = min(LIKELIHOOD["n_images"], config["chunk_size"])
PER_MODEL = ["likelihood", "held_out", "offsets", "tracking_cost"]


use rule job from likelihood_chunk as likelihood_chunk with:
    """Log-densities of the samples of one chunk of seeds, by every estimator."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        "results/{dataset}/{model}/chunks/likelihood-{chunk}.csv",
    pathvars:
        job="{dataset}/{model}/likelihood-{chunk}",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seeds=lambda w: chunk_range(config["seed"], int(w.chunk), SAMPLES_A_JOB),
        settings=LIKELIHOOD["estimators"],


use rule job from likelihood_held_out as held_out_chunk with:
    """Log-densities and bits/dim of one chunk of held-out images."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        "results/{dataset}/{model}/chunks/held_out-{chunk}.csv",
    pathvars:
        job="{dataset}/{model}/held_out-{chunk}",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        images=lambda w: chunk_range(0, int(w.chunk), IMAGES_A_JOB),
        data_dir=config["data_dir"],
        settings=LIKELIHOOD["estimators"],


use rule job from concatenate as likelihood_table with:
    """Log-densities of all samples of a model."""
    input:
        chunk_files("likelihood", LIKELIHOOD["n_samples"], SAMPLES_A_JOB),
    output:
        "results/{dataset}/{model}/likelihood.csv",
    pathvars:
        job="{dataset}/{model}/likelihood",
    params:
        keep=("seed", config["seed"] + LIKELIHOOD["n_samples"]),


use rule job from concatenate as held_out_table with:
    """Log-densities of all held-out images."""
    input:
        chunk_files("held_out", LIKELIHOOD["n_images"], IMAGES_A_JOB),
    output:
        "results/{dataset}/{model}/held_out.csv",
    pathvars:
        job="{dataset}/{model}/held_out",
    params:
        keep=("image", LIKELIHOOD["n_images"]),


use rule job from likelihood_tracking as tracking with:
    """Tracked and PF-ODE log-density of the same samples by steps; CPU time with and without."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        offsets="results/{dataset}/{model}/offsets.csv",
        cost="results/{dataset}/{model}/tracking_cost.csv",
    pathvars:
        job="{dataset}/{model}/tracking",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seed=config["seed"],
        offset=LIKELIHOOD["offset"],
        cost=LIKELIHOOD["tracking_cost"],


use rule job from likelihood_claims as likelihood_claims with:
    """Claims 1, 3 and 4 on image models: cost of tracking, tracked against PF-ODE, sandwich."""
    input:
        expand("results/{name}/{table}.csv", name=MODELS, table=PER_MODEL),
    output:
        "results/measured/likelihood.csv",
    params:
        models=list(MODELS),
        bootstrap=BOOTSTRAP,


use rule job from likelihood_notebook as likelihood with:
    """Image models: tracked log-density against PF-ODE, ELBO and IWAE."""
    input:
        expand("results/{name}/{table}.csv", name=MODELS, table=PER_MODEL),
        expand("results/{name}/stein.npz", name=MODELS),
        claims="results/claims/likelihood.csv",
    output:
        figure("likelihood_scatter", "tracked against PF-ODE log-density", "3 Image models"),
        figure("likelihood_sandwich", "every log-density of the same samples", "3 Image models"),
        figure("likelihood_held_out", "bits/dim of held-out images", "3 Image models"),
    params:
        models=list(MODELS),
