from cartoonists.experiments.modes import ModeSettings, mode_curves
from cartoonists.files.artifacts import job, write_arrays

with job(snakemake) as record:
    settings = ModeSettings(**snakemake.params.settings)
    arrays = mode_curves(**snakemake.params.curves, settings=settings)
    write_arrays(snakemake.output[0], arrays, record)
