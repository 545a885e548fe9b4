import shutil
from pathlib import Path

from cartoonists.experiments.training import first_network, store_model, with_held_out
from cartoonists.files.artifacts import atomic, job
from cartoonists.files.resources import file_sha256
from cartoonists.images.arrays import load_numpy
from cartoonists.images.data import LOADERS, find_dataset
from cartoonists.images.packs import read_pack
from cartoonists.models.recipes import Recipe
from cartoonists.models.training import TrainingImages, images_for, train

with job(snakemake):
    params, dataset = snakemake.params, snakemake.wildcards.dataset
    settings = params.settings
    recipe = Recipe(**settings["recipe"])
    state = Path(params.state)
    if own := list(snakemake.input.own):
        found = load_numpy(Path(own[0]))
        images, test = TrainingImages.of(found["train"].images), found["test"].images
        # of these images: no training goes on from a state that saw what is held out now
        state = state.with_name(f"{state.stem}-{file_sha256(Path(own[0]))[:12]}.pt")
    elif settings.get("pack"):
        packed = read_pack(Path(settings["pack"]), dataset)
        images, test = images_for(packed, recipe), packed.test
    else:
        folder = find_dataset(dataset, params.data_dir)
        images = TrainingImages.of(LOADERS[dataset](folder, "train").images)
        test = LOADERS[dataset](folder, "test").images
    start = list(snakemake.input.start)
    network = first_network(settings["architecture"], recipe, start[0] if start else None)
    loss = Path(f"{state}.csv")  # the log resumes with the state
    loss.parent.mkdir(parents=True, exist_ok=True)
    trained = train(
        network, images, recipe, state, loss,
        save_every_s=settings.get("save_every_s", 120.0),
    )  # fmt: skip
    weights, name = Path(snakemake.output.weights), f"{dataset}/{snakemake.wildcards.model}"
    store_model(weights, name, settings, images, recipe, trained)
    with_held_out(weights, test, **settings["held_out"])
    with atomic(snakemake.output.loss) as temporary:
        shutil.copyfile(loss, temporary)
