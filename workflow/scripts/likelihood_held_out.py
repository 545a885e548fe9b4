from cartoonists.experiments.likelihood import LikelihoodSettings, image_log_densities
from cartoonists.experiments.survivors import with_stopped, without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.images.own_data import held_out_set
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    first, end = params.images
    real = held_out_set(params.model["data"], model.pixel_shape, end, params.data_dir)
    settings = LikelihoodSettings(**params.settings)
    table, stopped = without_stopped(
        lambda chosen: image_log_densities(model, stein, real.images[chosen], chosen, settings),
        range(first, max(first, len(real))),
    )
    table = with_stopped(table, stopped, key="image")
    for column, values in (("file", real.files), ("treatment", real.treatments)):
        if values:
            table[column] = [values[image] for image in table["image"]]
    write_table(snakemake.output[0], table, record | {"stopped": stopped})
