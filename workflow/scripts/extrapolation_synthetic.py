from cartoonists.experiments.extrapolation_synthetic import judge_synthetic
from cartoonists.files.artifacts import job, write_arrays, write_table
from cartoonists.images.synthetic import SyntheticSettings, synthetic_model
from cartoonists.paths.schedules import VP

with job(snakemake) as record:
    params, settings = snakemake.params, dict(snakemake.params.settings)
    model = synthetic_model(SyntheticSettings(**settings.pop("images")), VP(*params.logsnr))
    table, images = judge_synthetic(model, **settings, seed=params.seed)
    write_table(snakemake.output.table, table, record)
    write_arrays(snakemake.output.images, images, record)
