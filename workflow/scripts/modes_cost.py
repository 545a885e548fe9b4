from cartoonists.experiments.modes import mode_cost
from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    table = mode_cost(snakemake.params.dimensions, snakemake.params.repeats)
    write_table(snakemake.output[0], table, record)
