"""A model's files looked at as loading would, without reading a tensor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cartoonists.files.weights import variants, weight_files
from cartoonists.models.descriptions import describe, edm_card
from cartoonists.models.diffusers_models import schedule_of
from cartoonists.models.edm_models import card_schedule
from cartoonists.models.folders import component, scheduler_config
from cartoonists.models.latent_descriptions import family_of
from cartoonists.models.scheduler_configs import WORDS, read_scheduler
from cartoonists.models.unets import matching_skeleton

NETWORKS = {  # of a folder, by their classes
    "diffusers": {"unet": "UNet2DModel"},
    "latent": {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
}


def check_folder(path: Path, form: str, options: Mapping[str, Any]) -> None:
    """Raise CheckpointError for what loading would refuse, without reading a tensor.

    Classes, keys, shapes and conditions (`descriptions`), the noise table, and the names and
    shapes of all tensors against the networks that the configs promise.
    """
    describe(path, form, options)
    if form == "edm":
        card = edm_card(path.with_suffix(".json"))
        card_schedule(card, path.with_suffix(".json"))
        matching_skeleton("UNet2DModel", card["architecture"], [path], path)
    networks = NETWORKS.get(form, {})
    if form == "pipeline":
        family = family_of(path)[0]
        networks = {family.part: family.kind, "vae": "AutoencoderKL"}
    if networks:
        reading = read_scheduler(*scheduler_config(path), kinds=tuple(WORDS))
        if reading.kind == "table":
            schedule_of(reading)
    for name, kind in networks.items():
        place, config = component(path, name, kind)
        variant = options.get("variant")
        chosen = variant if name != "vae" or variant in variants(place) else None
        matching_skeleton(kind, config, weight_files(place, chosen), place)
