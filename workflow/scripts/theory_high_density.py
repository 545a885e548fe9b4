from cartoonists.experiments.theory import Settings, high_density_gains
from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    dimensions = int(snakemake.wildcards.dimensions)
    settings = Settings(**snakemake.params.settings)
    params = snakemake.params
    table = high_density_gains(dimensions, params.switch_logsnr, params.steps, settings)
    write_table(snakemake.output[0], table, record)
