"""A model's files looked at as loading would, without reading a tensor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cartoonists.files.weights import variants, weight_files
from cartoonists.models.descriptions import component, describe, edm_card, scheduler_config
from cartoonists.models.diffusers_models import schedule_of
from cartoonists.models.edm_models import card_schedule
from cartoonists.models.scheduler_configs import read_scheduler
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
    if form in NETWORKS:
        reading = read_scheduler(*scheduler_config(path))
        if reading.kind == "table":
            schedule_of(reading)
    for name, kind in NETWORKS.get(form, {}).items():
        place, config = component(path, name, kind)
        variant = options.get("variant")
        chosen = variant if name == "unet" or variant in variants(place) else None
        matching_skeleton(kind, config, weight_files(place, chosen), place)
