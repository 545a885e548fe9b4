import torch

from cartoonists.experiments.extrapolation import Truth, draw_data, network_arrays
from cartoonists.experiments.tiny import WhitenedNetwork, tiny_schedule, train_eps
from cartoonists.files.artifacts import job, read_arrays, write_arrays

with job(snakemake) as record:
    params, width = snakemake.params, int(snakemake.wildcards.width)
    truth = Truth.of_arrays(read_arrays(snakemake.input[0])[0], tiny_schedule())
    data = draw_data(truth.mixture, params.n_draws, params.seed)
    torch.manual_seed(params.seed)
    network = WhitenedNetwork(data, width)
    model = train_eps(network, data, tiny_schedule(), **params.training, seed=params.seed)
    write_arrays(snakemake.output[0], network_arrays(model), record)
