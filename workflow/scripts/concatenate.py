import pandas as pd

from cartoonists.artifacts import job, write_table

with job(snakemake) as record:
    tables = [pd.read_csv(name) for name in snakemake.input]
    write_table(snakemake.output[0], pd.concat(tables, ignore_index=True), record)
