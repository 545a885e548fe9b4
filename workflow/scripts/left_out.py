import pandas as pd

from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    table = pd.DataFrame(snakemake.params.rows, columns=["model", "topic", "reason"])
    write_table(snakemake.output[0], table, record)
