# High-density sampling: pairs from the same point x_t, and what the images of high density look like.

HIGH_DENSITY = config["high_density"]
PAIRS_A_JOB = min(HIGH_DENSITY["n_pairs"], config["chunk_size"])
PAIR_CHUNKS = chunk_files("high_density", HIGH_DENSITY["n_pairs"], PAIRS_A_JOB)
PAIR_IMAGES = chunk_files("high_density", HIGH_DENSITY["n_pairs"], PAIRS_A_JOB, "npz")


rule high_density_chunk:
    """Ordinary and HD samples of one chunk of seeds, their log-densities, images and measures."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/chunks/high_density-{chunk}.csv",
        images="results/{dataset}/{model}/chunks/high_density-{chunk}.npz",
    log:
        "results/logs/{dataset}/{model}/high_density-{chunk}.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/high_density-{chunk}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seeds=lambda w: chunk_range(config["seed"], int(w.chunk), PAIRS_A_JOB),
        # the base path is the one whose samples likelihood.csv describes
        base_steps=config["likelihood"]["estimators"]["sde_steps"],
        settings={key: HIGH_DENSITY[key] for key in ("switch_logsnr", "steps", "flow", "bounds")},
        first_seed=config["seed"],
        code=code_hash("workflow/scripts/high_density_chunk.py"),
    script:
        "../scripts/high_density_chunk.py"


rule high_density_table:
    """All pairs of a model, one row a sample."""
    input:
        PAIR_CHUNKS,
    output:
        "results/{dataset}/{model}/high_density.csv",
    log:
        "results/logs/{dataset}/{model}/high_density.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/high_density.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        keep=("seed", config["seed"] + HIGH_DENSITY["n_pairs"]),
        code=code_hash("workflow/scripts/concatenate.py"),
    script:
        "../scripts/concatenate.py"


rule high_density_sets:
    """Diversity, distance to the data and power spectra of each set of samples."""
    input:
        images=PAIR_IMAGES,
        inception="results/inception.json" if HIGH_DENSITY["inception"] else [],
    output:
        sets="results/{dataset}/{model}/high_density_sets.csv",
        spectra="results/{dataset}/{model}/high_density_spectra.csv",
        images="results/{dataset}/{model}/high_density_images.npz",
    log:
        "results/logs/{dataset}/{model}/high_density_sets.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/high_density_sets.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        n=HIGH_DENSITY["n_pairs"],
        shown=HIGH_DENSITY["n_shown"],
        data=lambda w: MODELS[f"{w.dataset}/{w.model}"]["data"],
        data_dir=config["data_dir"],
        confidence=config["confidence"],
        code=code_hash("workflow/scripts/high_density_sets.py"),
    script:
        "../scripts/high_density_sets.py"


rule high_density_claims:
    """Claims 6 and 7: HD samples have higher density, and are cartoons or blur."""
    input:
        pairs=expand("results/{name}/high_density.csv", name=MODELS),
        sets=expand("results/{name}/high_density_sets.csv", name=MODELS),
    output:
        "results/claims/high_density.csv",
    log:
        "results/logs/high_density_claims.log",
    benchmark:
        "results/benchmarks/high_density_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/high_density_claims.py"),
    script:
        "../scripts/high_density_claims.py"


rule high_density:
    """High-density samples: images, gain, detail, spectra, diversity against the switch point."""
    input:
        expand(
            "results/{name}/high_density{table}",
            name=MODELS,
            table=[".csv", "_sets.csv", "_spectra.csv", "_images.npz"],
        ),
        claims="results/claims/high_density.csv",
    output:
        report(
            expand("results/figures/high_density_images/{name}.png", name=MODELS),
            caption="../report/high_density_images.rst",
            category="3 Image models",
            subcategory="High-density sampling",
        ),
        expand("results/figures/high_density_images/{name}.svg", name=MODELS),
        report(
            "results/figures/high_density_gain.png",
            caption="../report/high_density_gain.rst",
            category="3 Image models",
            subcategory="High-density sampling",
            labels={"figure": "gain in log-density against the switch point"},
        ),
        "results/figures/high_density_gain.svg",
        report(
            "results/figures/high_density_detail.png",
            caption="../report/high_density_detail.rst",
            category="3 Image models",
            subcategory="High-density sampling",
            labels={"figure": "detail of the images against the switch point"},
        ),
        "results/figures/high_density_detail.svg",
        report(
            "results/figures/high_density_spectra.png",
            caption="../report/high_density_spectra.rst",
            category="3 Image models",
            subcategory="High-density sampling",
            labels={"figure": "radial power spectra"},
        ),
        "results/figures/high_density_spectra.svg",
        report(
            "results/figures/high_density_sets.png",
            caption="../report/high_density_sets.rst",
            category="3 Image models",
            subcategory="High-density sampling",
            labels={"figure": "diversity and distance to the data"},
        ),
        "results/figures/high_density_sets.svg",
    log:
        notebook="results/notebooks/high_density.ipynb",
    benchmark:
        "results/benchmarks/high_density.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        confidence=config["confidence"],
        code=code_hash("notebooks/high_density.ipynb"),
    notebook:
        "../../notebooks/high_density.ipynb"
