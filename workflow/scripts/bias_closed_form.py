from cartoonists.experiments.bias import closed_form_bias
from cartoonists.files.artifacts import job, write_table
from cartoonists.paths.schedules import VP

with job(snakemake) as record:
    params = snakemake.params
    table = closed_form_bias(**params.settings, schedule=VP(*params.logsnr), seed=params.seed)
    write_table(snakemake.output[0], table, record)
