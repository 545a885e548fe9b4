from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.likelihood import tracked_offsets, tracking_cost
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.offset
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    cost = tracking_cost(model, stein, **params.cost)
    write_table(snakemake.output.cost, cost, record)
    flow = FlowSettings(settings["ode_steps"])
    table, stopped = without_stopped(
        lambda seeds: tracked_offsets(model, stein, seeds, settings["steps"], flow),
        range(params.seed, params.seed + settings["n_samples"]),
    )
    write_table(snakemake.output.offsets, table, record | {"stopped": stopped})
