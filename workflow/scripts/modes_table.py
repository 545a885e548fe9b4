from cartoonists.experiments.modes import ModeSettings, failure_detection, mode_errors
from cartoonists.files.artifacts import job, write_table

with job(snakemake) as record:
    params = snakemake.params
    table = mode_errors(params.dimensions, params.logsnr_t, ModeSettings(**params.settings))
    write_table(snakemake.output.modes, table, record)
    write_table(snakemake.output.detection, failure_detection(table), record)
