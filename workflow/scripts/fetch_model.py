from cartoonists.files.artifacts import job, write_json
from cartoonists.models.checkpoints import ModelSpec, fetch_model

with job(snakemake):
    params = snakemake.params
    spec = ModelSpec.of(params.spec)
    options = {"cache": params.downloads["cache_dir"], "offline": params.downloads["offline"]}
    record = fetch_model(spec, attempts=params.downloads["attempts"], **options)
    write_json(snakemake.output[0], record)
