# Log-density against the size of images in every codec, and against their local dimension.
# Runs on models of pictures.

COMPRESSION = config["compression"]
COMPRESSION_PAIRS = min(COMPRESSION["n_images"], config["high_density"]["n_pairs"])
FURTHER = {kind: name for kind, name in COMPRESSION["further"]["models"].items() if name}
FURTHER_MODELS = {name: bundled_model(config, name) for name in FURTHER.values()}
N_REAL = COMPRESSION["n_real" if config["data_dir"] else "n_images"]
COMPRESSION_SECTION = ("3 Image models", "Compression")


use rule job from compression_table as compression_table with:
    """Log-density, sizes and local intrinsic dimension of data, ordinary and HD samples."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
        pairs="results/{dataset}/{model}/high_density.csv",
        images=chunk_files(
            "high_density",
            COMPRESSION_PAIRS,
            PAIRS_A_JOB,
            "npz",
        ),
    output:
        table="results/{dataset}/{model}/compression.csv",
        correlations="results/{dataset}/{model}/compression_correlations.csv",
    pathvars:
        job="{dataset}/{model}/compression",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings={key: COMPRESSION[key] for key in ("lid_logsnr", "lid_probes")}
        | {"n_images": N_REAL},
        n_samples=COMPRESSION_PAIRS,
        flow=config["high_density"]["flow"],
        data_dir=config["data_dir"],
        bootstrap=BOOTSTRAP,


use rule job from compression_further as compression_further with:
    """Log-density and sizes of real images of a further kind, and of samples of their model."""
    output:
        "results/{dataset}/{model}/compression_further.csv",
    pathvars:
        job="{dataset}/{model}/compression_further",
    resources:
        **NETWORK,
    params:
        model=lambda w: FURTHER_MODELS[f"{w.dataset}/{w.model}"],
        n_images=COMPRESSION["further"]["n_images"],
        base_steps=config["likelihood"]["estimators"]["sde_steps"],
        flow=config["high_density"]["flow"],
        stein=config["stein"],
        seed=config["seed"],


use rule job from compression_claims as compression_claims with:
    """Claims 9 and 12: log-density follows the size of files, and the local dimension."""
    input:
        expand("results/{name}/compression.csv", name=PICTURED),
        further=expand("results/{name}/compression_further.csv", name=FURTHER.values()),
    output:
        "results/measured/compression.csv",
    params:
        models=list(PICTURED),
        further=FURTHER,
        n_real=N_REAL,
        bootstrap=BOOTSTRAP,


use rule job from compression_notebook as compression with:
    """Log-density against PNG size, every codec's correlation, and local intrinsic dimension."""
    input:
        expand("results/{name}/compression{table}.csv", name=PICTURED, table=["", "_correlations"]),
        further=expand("results/{name}/compression_further.csv", name=FURTHER.values()),
        claims="results/claims/compression.csv",
    output:
        figure("compression_png", "log-density against PNG size", *COMPRESSION_SECTION),
        figure("compression_codecs", "correlation with every codec", *COMPRESSION_SECTION),
        figure("compression_dimension", "local intrinsic dimension", *COMPRESSION_SECTION),
    params:
        models=list(PICTURED),
        further=list(FURTHER.values()),
