import shutil
from pathlib import Path

import torch

from cartoonists.experiments.likelihood import held_out_bound
from cartoonists.files.artifacts import atomic, job
from cartoonists.files.resources import file_sha256
from cartoonists.images.arrays import load_numpy
from cartoonists.images.data import LOADERS, find_dataset
from cartoonists.images.packs import read_pack
from cartoonists.models.cards import make_card
from cartoonists.models.checkpoints import build_network, load_model, save_model, write_card
from cartoonists.models.training import Recipe, TrainingImages, images_for, train

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
    torch.manual_seed(recipe.seed)  # initial weights
    network = build_network(settings["architecture"])
    if snakemake.input.start:
        network.load_state_dict(load_model(snakemake.input.start[0]).network.state_dict())
    loss = Path(f"{state}.csv")  # the log resumes with the state
    loss.parent.mkdir(parents=True, exist_ok=True)
    trained = train(
        network, images, recipe, state, loss,
        save_every_s=settings.get("save_every_s", 120.0),
    )  # fmt: skip
    card = make_card(dataset, images, recipe, settings, trained)
    weights = Path(snakemake.output.weights)
    card = save_model(weights, trained.network, card)
    held_out = settings["held_out"]
    held_out = held_out | {"n_images": min(held_out["n_images"], len(test))}
    bound = held_out_bound(load_model(weights), test, **held_out)
    write_card(Path(snakemake.output.card), card | {"held_out": bound})
    with atomic(snakemake.output.loss) as temporary:
        shutil.copyfile(loss, temporary)
