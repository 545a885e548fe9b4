"""Networks of diffusers from their configs: every key checked, every weight accounted for."""

import inspect
import typing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cartoonists.files.configs import refuse
from cartoonists.files.errors import CheckpointError
from cartoonists.files.weights import damaged, weight_files
from cartoonists.models.image_models import load_tensors, match_tensors

MOST = 2**20  # of any number in a network's config
MOST_LAYERS = 64  # of a block: each is built before it can be compared with the weights
LAYERS = ("layers_per_block", "transformer_layers_per_block")


def load_network(
    kind: str,
    config: dict,
    place: Path,
    variant: str | None,
    shape: tuple[int, ...] | None = None,
    **inputs: Tensor,
) -> Any:
    """One network of diffusers, from a config and the weights beside it, in float32.

    Its names and shapes are compared with the files' headers before a weight is read.  Where
    ``shape`` is given, one evaluation is tried.  Raises CheckpointError where weights are missing,
    damaged, pickles, or of another network than the config's.
    """
    return load_from(kind, config, weight_files(place, variant), place, shape, **inputs)


def load_from(
    kind: str,
    config: dict,
    files: list[Path],
    place: Path,
    shape: tuple[int, ...] | None = None,
    **inputs: Tensor,
) -> Any:
    """`load_network` from files that are named."""
    skeleton = matching_skeleton(kind, config, files, place)
    network = load_tensors(build(kind, config, place), files, place)
    if shape is not None:
        try_network(skeleton, network, shape, place, **inputs)
    return network


def matching_skeleton(kind: str, config: dict, files: list[Path], place: Path) -> Any:
    """The network of a config without values, after its names and shapes met those of the files.

    Raises CheckpointError where they do not.
    """
    with torch.device("meta"):
        skeleton = build(kind, config, place)
    match_tensors(skeleton, files, place)
    return skeleton


def build(kind: str, config: dict, place: Any) -> Any:
    """A network of a class of diffusers with random weights.  Raises CheckpointError."""
    import diffusers

    network_class = getattr(diffusers, kind)
    check_config(config, network_class, place)
    try:
        return network_class.from_config(config)
    except Exception as error:  # diffusers raises whatever a wrong config leads to
        raise damaged(place, error) from None


def check_config(config: dict, network_class: type, place: Any) -> None:
    """Raise CheckpointError for keys that a class does not have, and for values of other types."""
    hints = typing.get_type_hints(inspect.unwrap(network_class.__init__))  # type: ignore[misc]
    for key, value in config.items():
        if key.startswith("_") or value is None:
            continue
        if key not in hints:
            raise CheckpointError(
                f"{place}: {key}: found, allowed: keys of {network_class.__name__}"
            )
        most = MOST_LAYERS if key in LAYERS else MOST
        allowed = _leaves(hints[key])
        if not all(_fits(leaf, allowed, most) for leaf in _flat(value)):
            words = ", ".join(sorted(t.__name__ for t in allowed if t is not type(None)))
            raise refuse(place, key, value, f"{words} (whole numbers up to {most})")


def _leaves(hint: Any) -> set[type]:
    """The types of single values in a type such as ``int | tuple[int, ...]``."""
    parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
    return set().union(*map(_leaves, parts)) if parts else {hint}


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


def _fits(value: Any, allowed: set[type], most: int) -> bool:
    if isinstance(value, bool | str):
        return type(value) in allowed
    if isinstance(value, int):
        return -most <= value <= most and bool({int, float} & allowed)
    if isinstance(value, float):
        whole = int in allowed and value.is_integer()
        return abs(value) <= most and (float in allowed or whole)
    return value is None


def try_network(
    skeleton: Any, network: Any, shape: tuple[int, ...], place: Any, **inputs: Tensor
) -> None:
    """Evaluate once without values (on PyTorch's *meta* device), so that shapes must fit.

    Only where that fails is the network itself tried, for operations that *meta* does not have.
    Raises CheckpointError.
    """
    for candidate, device in ((skeleton, "meta"), (network, "cpu")):
        x = torch.zeros(1, *shape, device=device)
        there = {name: value.to(device) for name, value in inputs.items()}
        if getattr(candidate, "class_embedding", None) is not None:
            there["class_labels"] = torch.zeros(1, dtype=torch.long, device=device)
        try:
            with torch.no_grad():
                output = candidate(x, torch.ones(1, device=device), **there).sample
            if tuple(output.shape[2:]) != tuple(shape[1:]) or output.shape[1] % shape[0]:
                raise ValueError(f"output of shape {list(output.shape)[1:]} for {list(shape)}")
            return
        except Exception as error:  # whatever the layers raise
            failure = error
    raise damaged(place, failure)
