from cartoonists.experiments.tiny import correction_sizes, shrink, tiny_schedule, train_tiny
from cartoonists.files.artifacts import job, write_table
from cartoonists.images.data import load_bundled_images

with job(snakemake) as record:
    params = snakemake.params
    data = shrink(load_bundled_images("fashion-mnist").images)
    model = train_tiny(data, tiny_schedule(), **params.training, seed=params.seed)
    along, ends = correction_sizes(model, **params.curves, seed=params.seed)
    write_table(snakemake.output.along, along, record)
    write_table(snakemake.output.ends, ends, record)
