# High-density sampling: pairs from the same point x_t, and what the images of high density look like.
# Runs on models of pictures.

HIGH_DENSITY = config["high_density"]
HIGH_DENSITY_SECTION = ("3 Image models", "High-density sampling")
PAIR_CHUNKS = chunk_files("high_density", HIGH_DENSITY["n_pairs"], PAIRS_A_JOB)
PAIR_IMAGES = chunk_files("high_density", HIGH_DENSITY["n_pairs"], PAIRS_A_JOB, "npz")


use rule job from high_density_chunk as high_density_chunk with:
    """Ordinary and HD samples of one chunk of seeds, their log-densities, images and measures."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/chunks/high_density-{chunk}.csv",
        images="results/{dataset}/{model}/chunks/high_density-{chunk}.npz",
    pathvars:
        job="{dataset}/{model}/high_density-{chunk}",
    priority: 1  # the longest jobs, on which three topics wait: not the last, with a core idle
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seeds=lambda w: chunk_range(config["seed"], int(w.chunk), PAIRS_A_JOB),
        # the base path is the one whose samples likelihood.csv describes
        base_steps=config["likelihood"]["estimators"]["sde_steps"],
        settings={key: HIGH_DENSITY[key] for key in ("switch_logsnr", "steps", "flow", "bounds")},
        first_seed=config["seed"],
        shown=HIGH_DENSITY["n_shown"],


use rule job from concatenate as high_density_table with:
    """All pairs of a model, one row a sample."""
    input:
        PAIR_CHUNKS,
    output:
        "results/{dataset}/{model}/high_density.csv",
    pathvars:
        job="{dataset}/{model}/high_density",
    params:
        keep=("seed", config["seed"] + HIGH_DENSITY["n_pairs"]),


use rule job from high_density_sets as high_density_sets with:
    """Diversity, distance to the data and power spectra of each set of samples."""
    input:
        images=PAIR_IMAGES,
        inception="results/inception.json" if HIGH_DENSITY["inception"] else [],
    output:
        sets="results/{dataset}/{model}/high_density_sets.csv",
        spectra="results/{dataset}/{model}/high_density_spectra.csv",
        images="results/{dataset}/{model}/high_density_images.npz",
    pathvars:
        job="{dataset}/{model}/high_density_sets",
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        n=HIGH_DENSITY["n_pairs"],
        shown=HIGH_DENSITY["n_shown"],
        data=lambda w: MODELS[f"{w.dataset}/{w.model}"]["data"],
        data_dir=config["data_dir"],
        confidence=config["confidence"],


use rule job from high_density_claims as high_density_claims with:
    """Claims 6 and 7: HD samples have higher density, and are cartoons or blur."""
    input:
        pairs=expand("results/{name}/high_density.csv", name=PICTURED),
        sets=expand("results/{name}/high_density_sets.csv", name=PICTURED),
    output:
        "results/measured/high_density.csv",
    params:
        models=list(PICTURED),
        bootstrap=BOOTSTRAP,


use rule job from high_density_notebook as high_density with:
    """High-density samples: images, gain, detail, spectra, diversity against the switch point."""
    input:
        expand(
            "results/{name}/high_density{table}",
            name=PICTURED,
            table=[".csv", "_sets.csv", "_spectra.csv", "_images.npz"],
        ),
        claims="results/claims/high_density.csv",
    output:
        figures("high_density_images", PICTURED, *HIGH_DENSITY_SECTION),
        figure(
            "high_density_gain",
            "gain in log-density against the switch point",
            *HIGH_DENSITY_SECTION,
        ),
        figure(
            "high_density_detail",
            "detail of the images against the switch point",
            *HIGH_DENSITY_SECTION,
        ),
        figure("high_density_spectra", "radial power spectra", *HIGH_DENSITY_SECTION),
        figure("high_density_sets", "diversity and distance to the data", *HIGH_DENSITY_SECTION),
    params:
        models=list(PICTURED),
        confidence=config["confidence"],
