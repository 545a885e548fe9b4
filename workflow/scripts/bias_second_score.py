import math

import pandas as pd

from cartoonists.density.stein import estimate_table
from cartoonists.experiments.bias import PerturbedGaussian, predicted_bias
from cartoonists.experiments.bias_second_score import SecondScoreSettings, excess, second_score
from cartoonists.experiments.tiny import shrink, tiny_schedule, train_tiny
from cartoonists.files.artifacts import job, write_table
from cartoonists.images.data import load_bundled_images
from cartoonists.statistics.summaries import HALVES, NETWORK

# Few, for a dense linear map of 64 with so faint a signal takes more paths than a network's error.
CONTROL = {"dimensions": 8, "v0": 0.3}

with job(snakemake) as record:
    params, seed = snakemake.params, snakemake.params.seed
    settings = SecondScoreSettings(**params.settings["second"])
    after = seed + settings.n + settings.n_held_out
    data = shrink(load_bundled_images("fashion-mnist").images)
    network = train_tiny(data, tiny_schedule(), **params.settings["first"], seed=seed)
    network.posterior = estimate_table(network, range(after, after + settings.n_held_out))
    runs = [(NETWORK, network, HALVES, math.nan)]
    for epsilon in params.settings["controls"]:
        control = PerturbedGaussian(**CONTROL, epsilon=epsilon, schedule=tiny_schedule())
        truth = predicted_bias(control).bias
        runs.append((f"Gaussian, ε = {epsilon:g}", control, HALVES[:1], truth))
    paths, levels = [], []
    for name, model, halves, truth in runs:
        of_paths, of_levels = second_score(model, settings, halves, seed)
        paths.append(of_paths.assign(model=name, truth_nats=truth))
        levels.append(of_levels.assign(model=name))
    write_table(snakemake.output.paths, pd.concat(paths, ignore_index=True), record)
    write_table(snakemake.output.levels, pd.concat(levels, ignore_index=True), record)
    steps = [settings.steps, 2 * settings.steps]
    sandwich = excess(network, settings.n_held_out, steps, seed + settings.n)  # held-out paths
    write_table(snakemake.output.excess, sandwich, record)
