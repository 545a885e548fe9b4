from pathlib import Path

from cartoonists.files.artifacts import job
from cartoonists.images.data import LOADERS
from cartoonists.models.classifier import (
    ClassifierRecipe,
    evaluate,
    save_classifier,
    train_classifier,
)

with job(snakemake):
    params, folder = snakemake.params, Path(snakemake.input.folder)
    load = LOADERS[params.dataset]
    train, test = load(folder, "train"), load(folder, "test")
    classifier = train_classifier(train, ClassifierRecipe(**params.recipe), params.layers)
    save_classifier(
        classifier,
        Path(snakemake.output.weights),
        dataset=params.dataset,
        training_data=params.training_data,
        test=evaluate(classifier, test),
    )
