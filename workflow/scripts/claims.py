from cartoonists.artifacts import job, write_table
from cartoonists.claims import assemble

with job(snakemake) as record:
    write_table(snakemake.output[0], assemble(snakemake.input), record)
