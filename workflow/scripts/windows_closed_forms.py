import pandas as pd

from cartoonists.artifacts import job, write_table
from cartoonists.schedules import VP
from cartoonists.testbeds import testbed
from cartoonists.windows import hierarchy, mixture_windows

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
