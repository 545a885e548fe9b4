import numpy as np

from cartoonists.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.classifier import load_classifier
from cartoonists.evaluation import held_out_images
from cartoonists.measures import set_table, spectrum_table
from cartoonists.pairs import collect_images

with job(snakemake) as record:
    params = snakemake.params
    found = collect_images([read_arrays(name)[0] for name in snakemake.input], params.n)
    switches, images = found["switch_logsnr"], found["images"]
    classifier = load_classifier(params.classifier)
    features = np.stack([classifier.features(part) for part in images])
    real = held_out_images(params.classifier, params.data_dir).images[: 2 * params.n]
    sets = set_table(features, switches, classifier.features(real), params.confidence)
    write_table(snakemake.output.sets, sets, record)
    write_table(snakemake.output.spectra, spectrum_table(images, switches), record)
    shown = found | {"images": images[:, : params.shown], "seeds": found["seeds"][: params.shown]}
    write_arrays(snakemake.output.images, shown, record)
