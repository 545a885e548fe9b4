from cartoonists.artifacts import job, write_arrays
from cartoonists.checkpoints import load_model
from cartoonists.evaluation import TableSettings, choose_table

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    arrays, measured = choose_table(model, TableSettings(**params.settings), params.seed)
    write_arrays(snakemake.output[0], arrays, record | measured)
