from cartoonists.artifacts import job, read_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.evaluation import (
    LikelihoodSettings,
    held_out_images,
    image_log_densities,
    table_from_arrays,
)

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    images = held_out_images(model.card["data"]["name"], params.data_dir).images
    chosen = [i for i in range(*params.images) if i < len(images)]
    settings = LikelihoodSettings(**params.settings)
    table = image_log_densities(model, stein, images[chosen], chosen, settings)
    write_table(snakemake.output[0], table, record)
