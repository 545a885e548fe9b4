from cartoonists.experiments.extrapolation import Truth, network_of_arrays, score_errors
from cartoonists.experiments.tiny import tiny_schedule
from cartoonists.files.artifacts import job, read_arrays, write_table

with job(snakemake) as record:
    params = snakemake.params
    truth = Truth.of_arrays(read_arrays(snakemake.input.truth)[0], tiny_schedule())
    networks = {
        name: network_of_arrays(read_arrays(path)[0], truth)
        for name, path in zip(params.networks, snakemake.input.networks, strict=True)
    }
    seeds = range(params.seed, params.seed + params.n)
    table = score_errors(networks, truth, seeds, params.switch_logsnr, params.steps)
    write_table(snakemake.output[0], table, record)
