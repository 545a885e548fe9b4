from cartoonists.experiments.likelihood import tracking_cost
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    model = snakemake.params.model
    model = load_model(model["reference"], **model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    table = tracking_cost(model, stein, **snakemake.params.settings)
    write_table(snakemake.output[0], table, record)
