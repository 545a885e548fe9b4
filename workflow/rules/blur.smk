# What blur, and its controls, do to the log-density of real and of sampled images.
# Runs on models whose pictures can be blurred.

BLUR = config["blur"]
BLUR_SECTION = ("3 Image models", "Blur")


use rule job from blur_table as blur_table with:
    """Log-density of images after blur and its controls, and after blur at several black levels."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
        samples=chunk_files(
            "high_density",
            max(BLUR["n_images"], BLUR["black"]["n_images"]),
            PAIRS_A_JOB,
            "npz",
        ),
    output:
        curves="results/{dataset}/{model}/blur.csv",
        black="results/{dataset}/{model}/blur_black.csv",
    pathvars:
        job="{dataset}/{model}/blur",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=BLUR,
        data_dir=config["data_dir"],


use rule job from blur_claims as blur_claims with:
    """Claim 8: blur raises the log-density; its controls; the black level."""
    input:
        expand("results/{name}/blur{table}.csv", name=BLURRED, table=["", "_black"]),
    output:
        "results/measured/blur.csv",
    params:
        models=BLURRED,
        bootstrap=BOOTSTRAP,


use rule job from blur_notebook as blur with:
    """Log-density against the strength of blur and of its controls, at each noise and black level."""
    input:
        expand("results/{name}/blur{table}.csv", name=BLURRED, table=["", "_black"]),
        claims="results/claims/blur.csv",
    output:
        figure("blur_curves", "log-density against strength", *BLUR_SECTION),
        figure(
            "blur_levels",
            "share of blur steps that raise log p at each noise level",
            *BLUR_SECTION,
        ),
        figure("blur_black", "blur steps that raise log p by black level", *BLUR_SECTION),
    params:
        models=BLURRED,
