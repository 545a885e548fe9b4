from cartoonists.experiments.control import (
    aligned_at,
    alignment_table,
    closed_form_control,
    path_errors,
)
from cartoonists.experiments.theory import testbed
from cartoonists.files.artifacts import job, write_table
from cartoonists.paths.schedules import VP

with job(snakemake) as record:
    settings, paths = snakemake.params.settings, snakemake.params.settings["paths"]
    seeds = range(snakemake.params.seed, snakemake.params.seed + settings["n_samples"])
    schedule = VP(*snakemake.params.logsnr)
    target = testbed("mixture", paths["dimensions"], schedule)
    write_table(snakemake.output.paths, path_errors(target, seeds, paths["steps"]), record)
    target = testbed("mixture", settings["dimensions"], schedule)
    table = closed_form_control(
        target, snakemake.params.strengths, settings["bounds"], seeds, settings["steps"]
    )
    write_table(snakemake.output.control, table, record)
    levels = aligned_at(schedule, snakemake.params.alignment_logsnr)
    table = alignment_table(target, seeds, settings["steps"], settings["width"], levels)
    write_table(snakemake.output.alignment, table, record)
