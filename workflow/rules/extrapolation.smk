# Are cartoons in the density, or in the network's extrapolation?  And synthetic images.
# Runs on closed forms.

EXTRAPOLATION = config["extrapolation"]
NETWORKS = {f"{width}-units": f"{width} units" for width in EXTRAPOLATION["widths"]}
SCORES = {"exact": "exact"} | NETWORKS
SAMPLED = {key: EXTRAPOLATION[key] for key in ("switch_logsnr", "steps")}
SAMPLED |= {"n": EXTRAPOLATION["n_samples"], "seed": config["seed"]}


use rule job from extrapolation_truth as extrapolation_truth with:
    """The mixture fitted to images, which is the truth from here on."""
    output:
        "results/theory/extrapolation_truth.npz",
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        fit=EXTRAPOLATION["truth"],
        shown=EXTRAPOLATION["n_shown"],
        data_dir=config["data_dir"],
        seed=config["seed"],


use rule job from extrapolation_network as extrapolation_network with:
    """A network of one width, trained on draws of the mixture."""
    input:
        "results/theory/extrapolation_truth.npz",
    output:
        "results/theory/parts/extrapolation-network-{width}-units.npz",
    pathvars:
        job="extrapolation_network/{width}",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        n_draws=EXTRAPOLATION["n_draws"],
        training=EXTRAPOLATION["training"],
        seed=config["seed"],


use rule job from extrapolation_samples as extrapolation_samples with:
    """Ordinary and HD samples of one score, exact or a network's, judged by the truth."""
    input:
        truth="results/theory/extrapolation_truth.npz",
        network=lambda wildcards: (
            "results/theory/parts/extrapolation-network-{score}.npz"
            if wildcards.score in NETWORKS
            else []
        ),
    output:
        table="results/theory/parts/extrapolation-{score}.csv",
        images="results/theory/parts/extrapolation-{score}.npz",
    pathvars:
        job="extrapolation_samples/{score}",
    wildcard_constraints:
        score="|".join(SCORES),
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        **SAMPLED,
        score=lambda wildcards: SCORES[wildcards.score],
        flow=EXTRAPOLATION["flow"],


use rule job from concatenate as extrapolation_table with:
    """The samples of all scores, one below the other."""
    input:
        expand("results/theory/parts/extrapolation-{score}.csv", score=SCORES),
    output:
        "results/theory/extrapolation.csv",
    pathvars:
        job="extrapolation_table",


use rule job from extrapolation_errors as extrapolation_errors with:
    """Where the networks' scores are wrong: on HD trajectories, or on data."""
    input:
        truth="results/theory/extrapolation_truth.npz",
        networks=expand("results/theory/parts/extrapolation-network-{score}.npz", score=NETWORKS),
    output:
        "results/theory/extrapolation_errors.csv",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        **SAMPLED,
        networks=list(NETWORKS.values()),


use rule job from extrapolation_synthetic as extrapolation_synthetic with:
    """Synthetic images of a known density: draws, and HD samples of the exact score."""
    output:
        table="results/theory/extrapolation_synthetic.csv",
        images="results/theory/extrapolation_synthetic.npz",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        settings=EXTRAPOLATION["synthetic"],
        logsnr=[config["logsnr_min"], config["logsnr_max"]],
        seed=config["seed"],


use rule job from extrapolation_claims as extrapolation_claims with:
    """Claim 13: cartoons are in the density, not in the network's extrapolation."""
    input:
        samples="results/theory/extrapolation.csv",
        errors="results/theory/extrapolation_errors.csv",
        synthetic="results/theory/extrapolation_synthetic.csv",
    output:
        "results/measured/extrapolation.csv",
    params:
        bootstrap=BOOTSTRAP,


use rule job from extrapolation_notebook as extrapolation with:
    """The question, the pictures and the answer."""
    input:
        samples="results/theory/extrapolation.csv",
        errors="results/theory/extrapolation_errors.csv",
        truth="results/theory/extrapolation_truth.npz",
        images=expand("results/theory/parts/extrapolation-{score}.npz", score=SCORES),
        synthetic="results/theory/extrapolation_synthetic.csv",
        synthetic_images="results/theory/extrapolation_synthetic.npz",
        claims="results/claims/extrapolation.csv",
    output:
        figure("extrapolation_images", "HD images, exact and of networks", "2 Closed forms"),
        figure("extrapolation_density", "true log-density and flatness", "2 Closed forms"),
        figure("extrapolation_freedom", "where networks are wrong", "2 Closed forms"),
        figure("extrapolation_synthetic_images", "synthetic images", "2 Closed forms"),
        figure("extrapolation_synthetic", "PNG size against true log-density", "2 Closed forms"),
    params:
        scores=list(SCORES.values()),
