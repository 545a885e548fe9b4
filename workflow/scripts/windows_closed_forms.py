import pandas as pd

from cartoonists.experiments.theory import testbed
from cartoonists.experiments.windows import hierarchy, mixture_windows
from cartoonists.files.artifacts import job, write_table
from cartoonists.paths.schedules import VP

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    seeds = range(params.seed, params.seed + settings["n_samples"])
    schedule = VP(*params.logsnr)
    nested, groups = hierarchy(2, schedule)
    cases = {
        "2 × 2 components, D = 2: all": (nested, None, True),
        "2 × 2 components, D = 2: groups": (nested, groups, False),
    }
    for d in settings["dimensions"]:
        cases[f"3 components, D = {d}"] = (testbed("mixture", d, schedule), None, False)
    tables = [
        mixture_windows(
            target, settings["logsnr"], seeds, settings["steps"], groups=labels, modes=modes
        ).assign(target=name)
        for name, (target, labels, modes) in cases.items()
    ]
    write_table(snakemake.output[0], pd.concat(tables, ignore_index=True), record)
