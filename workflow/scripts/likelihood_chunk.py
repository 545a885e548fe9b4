from cartoonists.experiments.likelihood import LikelihoodSettings, sample_log_densities
from cartoonists.experiments.survivors import with_stopped, without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    settings = LikelihoodSettings(**params.settings)
    table, stopped = without_stopped(
        lambda seeds: sample_log_densities(model, stein, seeds, settings), range(*params.seeds)
    )
    write_table(snakemake.output[0], with_stopped(table, stopped), record | {"stopped": stopped})
