from cartoonists.artifacts import job, write_arrays
from cartoonists.mode_experiments import ModeSettings, mode_curves

with job(snakemake) as record:
    settings = ModeSettings(**snakemake.params.settings)
    arrays = mode_curves(**snakemake.params.curves, settings=settings)
    write_arrays(snakemake.output[0], arrays, record)
