import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.summaries import with_gaps
from cartoonists.statistics.trust import keep_each

with job(snakemake) as record:
    table = pd.read_csv(snakemake.input[0])
    columns = {
        f"{name}_log_density_nats": f"{name}_nats" for name in ("tracked", "ode", "elbo", "iwae")
    }
    table = keep_each(table, "tracker", "ode_log_density_nats")
    table = table[["seed", "tracker", "dimensions", *columns]].rename(columns=columns)
    table = with_gaps(table).assign(offset_nats=table["tracked_nats"] - table["ode_nats"])
    write_table(snakemake.output[0], table, record)
