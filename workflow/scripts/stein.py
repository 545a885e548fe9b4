from cartoonists.experiments.tables import TableSettings, choose_table
from cartoonists.files.artifacts import job, write_arrays
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    arrays, measured = choose_table(model, TableSettings(**params.settings), params.seed)
    write_arrays(snakemake.output[0], arrays, record | measured)
