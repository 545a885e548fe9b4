import pandas as pd

from cartoonists.artifacts import job, write_table

with job(snakemake) as record:
    table = pd.concat([pd.read_csv(name) for name in snakemake.input], ignore_index=True)
    if keep := snakemake.params.get("keep"):  # of chunks that hold more than is wanted
        column, end = keep
        table = table[table[column] < end]
    write_table(snakemake.output[0], table, record)
