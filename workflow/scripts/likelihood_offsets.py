from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.likelihood import tracked_offsets
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    flow = FlowSettings(settings["ode_steps"])
    table, stopped = without_stopped(
        lambda seeds: tracked_offsets(model, stein, seeds, settings["steps"], flow),
        range(params.seed, params.seed + settings["n_samples"]),
    )
    write_table(snakemake.output[0], table, record | {"stopped": stopped})
