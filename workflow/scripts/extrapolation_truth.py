from cartoonists.experiments.extrapolation import draw_data, fit_truth, shrink_images
from cartoonists.experiments.tiny import tiny_schedule
from cartoonists.files.artifacts import job, write_arrays
from cartoonists.images.own_data import held_out_images

with job(snakemake) as record:
    params, fit = snakemake.params, snakemake.params.fit
    images = held_out_images("fashion-mnist", (1, 28, 28), fit["n_images"], params.data_dir)
    images = shrink_images(images, fit["side"])
    truth = fit_truth(images, fit["components"], fit["floor"], tiny_schedule(), params.seed)
    draws = truth.scaling.to_pixels(draw_data(truth.mixture, params.shown, params.seed)).numpy()
    shown = {"data": images[: params.shown], "draws": draws}
    write_arrays(snakemake.output[0], truth.arrays() | shown, record)
