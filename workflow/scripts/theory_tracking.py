from cartoonists.experiments.theory import Settings, tracking_errors
from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    dimensions = int(snakemake.wildcards.dimensions)
    settings = Settings(**snakemake.params.settings)
    table = tracking_errors(dimensions, snakemake.params.steps, settings)
    write_table(snakemake.output[0], table, record)
