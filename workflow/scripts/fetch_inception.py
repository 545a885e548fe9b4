from cartoonists.experiments.frechet import fetch_inception
from cartoonists.files.artifacts import job, write_json

with job(snakemake):
    params = snakemake.params
    options = {"cache": params.downloads["cache_dir"], "offline": params.downloads["offline"]}
    found = fetch_inception(**params.inception, attempts=params.downloads["attempts"], **options)
    write_json(snakemake.output[0], found)
