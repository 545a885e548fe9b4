import pandas as pd

from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    table = pd.concat([pd.read_csv(name) for name in snakemake.input], ignore_index=True)
    if keep := snakemake.params.get("keep"):  # of chunks that hold more than is wanted
        column, end = keep
        # in the order of seeds, however they were cut into chunks: bootstraps draw by row
        table = table[table[column] < end].sort_values(column, kind="stable", ignore_index=True)
    write_table(snakemake.output[0], table, record)
