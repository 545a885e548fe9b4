from cartoonists.artifacts import job, write_table
from cartoonists.mode_experiments import mode_cost

with job(snakemake) as record:
    table = mode_cost(snakemake.params.dimensions, snakemake.params.repeats)
    write_table(snakemake.output[0], table, record)
