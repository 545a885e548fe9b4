from cartoonists.artifacts import job, read_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.evaluation import LikelihoodSettings, sample_log_densities, table_from_arrays

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    settings = LikelihoodSettings(**params.settings)
    table = sample_log_densities(model, stein, range(*params.seeds), settings)
    write_table(snakemake.output[0], table, record)
