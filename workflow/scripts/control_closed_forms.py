from cartoonists.artifacts import job, write_table
from cartoonists.control import alignment_table, closed_form_control, path_errors
from cartoonists.schedules import VP
from cartoonists.testbeds import testbed

with job(snakemake) as record:
    settings = snakemake.params.settings
    seeds = range(snakemake.params.seed, snakemake.params.seed + settings["n_samples"])
    target = testbed("mixture", settings["dimensions"], VP(*snakemake.params.logsnr))
    write_table(snakemake.output.paths, path_errors(target, seeds, settings["path_steps"]), record)
    table = closed_form_control(
        target, snakemake.params.quantiles, settings["bounds"], seeds, settings["steps"]
    )
    write_table(snakemake.output.control, table, record)
    table = alignment_table(target, seeds, settings["steps"], settings["width"])
    write_table(snakemake.output.alignment, table, record)
