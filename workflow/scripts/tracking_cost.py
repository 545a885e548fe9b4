from cartoonists.artifacts import job, read_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.evaluation import table_from_arrays, tracking_cost

with job(snakemake) as record:
    model = snakemake.params.model
    model = load_model(model["reference"], **model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    table = tracking_cost(model, stein, **snakemake.params.settings)
    write_table(snakemake.output[0], table, record)
