from cartoonists.artifacts import job, write_table
from cartoonists.testbeds import Settings, tracking_errors

with job(snakemake) as record:
    dimensions = int(snakemake.wildcards.dimensions)
    settings = Settings(**snakemake.params.settings)
    table = tracking_errors(dimensions, snakemake.params.steps, settings)
    write_table(snakemake.output[0], table, record)
