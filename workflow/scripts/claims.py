from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import assemble, not_run

CLAIMS = {  # what the paper says of each of its models
    "3 tracked follows PF-ODE log-likelihood": "section 3",
    "6 HD samples beat ordinary samples from the same point": "algorithm 1",
    "7 HD images are cartoons or blur": "section 5",
    "9 log-density follows size": "section 5",
}

with job(snakemake) as record:
    params = snakemake.params
    missing = [
        not_run(f"{claim} ({model})", f"Karczewski et al. 2025a, {where}", snakemake.input.config)
        for claim, where in CLAIMS.items()
        for model in params.not_run
    ]
    write_table(snakemake.output[0], assemble(snakemake.input.topics, missing), record)
