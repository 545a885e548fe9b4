# Log-density against the size of images in every codec, and against their local dimension.

COMPRESSION = config["compression"]


rule compression_table:
    """Log-density, sizes and local intrinsic dimension of data, ordinary and HD samples."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
        pairs="results/{dataset}/{model}/high_density.csv",
        images=chunk_files(
            "high_density",
            min(COMPRESSION["n_images"], HIGH_DENSITY["n_pairs"]),
            PAIRS_A_JOB,
            "npz",
        ),
    output:
        table="results/{dataset}/{model}/compression.csv",
        correlations="results/{dataset}/{model}/compression_correlations.csv",
    log:
        "results/logs/{dataset}/{model}/compression.log",
    benchmark:
        "results/benchmarks/{dataset}/{model}/compression.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(3000),
        runtime=grows(240),
        gpu=GPU,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        settings=COMPRESSION,
        n_samples=min(COMPRESSION["n_images"], config["high_density"]["n_pairs"]),
        flow=config["high_density"]["flow"],
        data_dir=config["data_dir"],
        bootstrap=BOOTSTRAP,
        code=code_hash("workflow/scripts/compression_table.py"),
    script:
        "../scripts/compression_table.py"


rule compression_claims:
    """Claims 9 and 12: log-density follows the size of files, and the local dimension."""
    input:
        expand("results/{name}/compression_correlations.csv", name=MODELS),
    output:
        "results/claims/compression.csv",
    log:
        "results/logs/compression_claims.log",
    benchmark:
        "results/benchmarks/compression_claims.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        code=code_hash("workflow/scripts/compression_claims.py"),
    script:
        "../scripts/compression_claims.py"


rule compression:
    """Log-density against PNG size, every codec's correlation, and local intrinsic dimension."""
    input:
        expand("results/{name}/compression{table}.csv", name=MODELS, table=["", "_correlations"]),
        claims="results/claims/compression.csv",
    output:
        report(
            "results/figures/compression_png.png",
            caption="../report/compression_png.rst",
            category="3 Image models",
            subcategory="Compression",
            labels={"figure": "log-density against PNG size"},
        ),
        "results/figures/compression_png.svg",
        report(
            "results/figures/compression_codecs.png",
            caption="../report/compression_codecs.rst",
            category="3 Image models",
            subcategory="Compression",
            labels={"figure": "correlation with every codec"},
        ),
        "results/figures/compression_codecs.svg",
        report(
            "results/figures/compression_dimension.png",
            caption="../report/compression_dimension.rst",
            category="3 Image models",
            subcategory="Compression",
            labels={"figure": "local intrinsic dimension"},
        ),
        "results/figures/compression_dimension.svg",
    log:
        notebook="results/notebooks/compression.ipynb",
    benchmark:
        "results/benchmarks/compression.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(MODELS),
        code=code_hash("notebooks/compression.ipynb"),
    notebook:
        "../../notebooks/compression.ipynb"
