"""Models by name, path or configuration: the front door, and the native format.

Formats: *native* (safetensors with a JSON card, what training writes), *diffusers*, *edm*,
*latent*, *pipeline*, and *python* (a function of the user's own).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from cartoonists.files.artifacts import atomic
from cartoonists.files.configs import read_json
from cartoonists.files.downloads import (
    DownloadError,
    cache_dir,
    fetch_arguments,
    fetch_hub,
    fetch_url,
)
from cartoonists.files.errors import CheckpointError
from cartoonists.files.python_source import PREFIX, PythonSource
from cartoonists.files.resources import file_sha256, resources_dir
from cartoonists.images.data import PixelScaling
from cartoonists.models.descriptions import NATIVE_FORMAT, native_card
from cartoonists.models.execution import Execution
from cartoonists.models.folders import folder_format
from cartoonists.models.image_models import (
    GuidedModel,
    ImageModel,
    check_sha256,
    load_weights,
    match_tensors,
    parts_of,
    restrict,
)
from cartoonists.models.inspection import check_folder
from cartoonists.models.latent_models import LatentModel
from cartoonists.models.networks import build_network
from cartoonists.models.specs import ONE_FILE, ModelSpec
from cartoonists.paths.schedules import VP, NoiseSchedule, RectifiedFlow
from cartoonists.paths.scores import NetworkScore

__all__ = [
    "CheckpointError",
    "DownloadError",
    "GuidedModel",
    "ImageModel",
    "LatentModel",
    "ModelSpec",
    "build_network",
    "bundled_models",
    "fetch_model",
    "load_model",
    "save_model",
    "write_card",
]

BUNDLED = "models"  # folder under resources/
FETCHED_FORMAT = "cartoonists-fetched/1"
NETWORK_FOLDERS = ("unet/", "transformer/")  # of a pipeline
ENDINGS = (".json", ".safetensors", ".txt", ".model")  # of the files of a folder
EMBEDDINGS = "embeddings"  # among a model's files, wherever it lies
SCHEDULES: dict[str, type[NoiseSchedule]] = {"VP": VP, "RectifiedFlow": RectifiedFlow}  # of cards


def fetch_model(
    spec: ModelSpec,
    *,
    cache: str | Path | None = None,
    offline: bool = False,
    attempts: int = 3,
    wait: float = 1.0,
) -> dict[str, Any]:
    """Bring a model onto this machine; the only function here that touches the network.

    A function of the user's own is run once, so that its mistakes are known before any other job.
    Returns what ``load_model`` reads back from a JSON file: the spec, the local path, and the
    SHA-256 of every file of the model.  Raises CheckpointError (DownloadError) in one line.
    """
    options: dict[str, Any] = {"offline": offline, "attempts": attempts, "wait": wait}
    kind, _, place = spec.source.partition(":")
    if kind == "bundled":
        path = _locate(spec.name)
    elif kind == "url":
        folder = cache_dir(cache) / "url" / str(spec.sha256)[:16]
        path = fetch_url(place, str(spec.sha256), folder / "model.safetensors", **options)
        card = re.sub(r"\.safetensors$", "", place) + ".json"
        fetch_url(card, str(spec.card_sha256), folder / "model.json", **options)
    elif kind == "hf":
        wanted = {"sha256": spec.sha256, "variant": spec.variant, "cache": cache, **options}
        path = fetch_hub(spec.source, spec.format, **wanted)
    elif kind == "python":
        local = fetch_arguments(spec.arguments, cache, **options)
        return _python_record(replace(spec, arguments=local))
    else:
        path = Path(place)
        if not path.exists():
            raise CheckpointError(f"source: {place} is missing")
    if kind in ("path", "bundled") and path.is_file() and spec.sha256:
        check_sha256(path, spec.sha256, "the configuration")
    files = _model_files(path, spec)
    if not any(file.suffix == ".safetensors" for name, file in files.items() if name != EMBEDDINGS):
        raise CheckpointError(
            f"{spec.source}: no safetensors found (pickles are neither fetched nor opened; "
            "docs/models.md says how to convert them)"
        )
    _check_kind(path, spec)
    check_folder(path, spec.format, asdict(spec))
    digests = {name: file_sha256(file) for name, file in files.items()}
    return {
        "format": FETCHED_FORMAT,
        "spec": asdict(spec),
        "path": str(path.resolve() if kind != "hf" else path.absolute()),
        "files": digests,
        "sha256": _main_digest(digests),
    }


def _python_record(spec: ModelSpec) -> dict[str, Any]:
    """What `fetch_model` says of a function of the user's own, places made absolute."""
    model, place = _load(Path(), spec), PythonSource.of(spec.source)
    source, arguments = place.absolute(spec.arguments)
    path = str(place.path())
    digests = {str(file): file_sha256(file) for file in place.files(arguments)}
    return {
        "format": FETCHED_FORMAT,
        "spec": asdict(replace(spec, source=source, arguments=arguments)),
        "path": path,
        "files": digests,
        "sha256": digests[path],
        "shape": list(model.shape),
        "logsnr_range": [model.schedule.logsnr_min, model.schedule.logsnr_max],
    }


def _model_files(path: Path, spec: ModelSpec) -> dict[str, Path]:
    if spec.format == "python":
        return {str(f): f for f in PythonSource.of(spec.source).files(spec.arguments)}
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.suffix in ENDINGS]
        files = {p.relative_to(path).as_posix(): p for p in found if p.is_file()}
    else:
        files = {p.name: p for p in (path, path.with_suffix(".json")) if p.is_file()}
    if spec.embeddings:
        files[EMBEDDINGS] = Path(spec.embeddings)
        if not files[EMBEDDINGS].is_file():
            raise CheckpointError(f"embeddings: {spec.embeddings} is missing")
    return files


def _main_digest(digests: dict[str, str]) -> str | None:
    """The SHA-256 of the network's weights: of the only file, or of a pipeline's network."""
    weights = [name for name in digests if name.endswith(".safetensors")]
    chosen = [n for n in weights if n.startswith(NETWORK_FOLDERS)]
    chosen = chosen or [n for n in weights if "/" not in n]
    return digests[chosen[0]] if chosen else None


def bundled_models() -> list[str]:
    """Names of the bundled models, such as *fashion-mnist/likelihood*."""
    folder = resources_dir() / BUNDLED
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.json"))


def load_model(
    name: str | Path | ModelSpec | Mapping[str, Any],
    *,
    device: str = "auto",
    batch_size: int | str = 128,
    precision: str = "fp32",
    state: str = "float64",
    compile: bool = False,
    cache: str | Path | None = None,
) -> ImageModel:
    """Load a model: a ``ScoreModel`` with ``to_pixels``, ``from_pixels`` and ``finish``.

    name: a bundled model (*fashion-mnist/likelihood*); the path of a native or EDM
    ``.safetensors`` file, or of a diffusers, latent or pipeline folder;
    ``python:<file.py>:<function>``; the ``.json`` that `fetch_model`'s result was written to; or a
    ``ModelSpec`` (or its mapping), read
    from the cache without the network.  The rest says where and how precisely it runs (see
    ``execution.Execution``).
    Raises CheckpointError where files are missing, altered, damaged or of an unknown format, and
    ValueError for settings.
    """
    execution = Execution(device, precision, state, compile, batch_size)
    if isinstance(name, Mapping):
        name = ModelSpec.of(name)
    elif str(name).startswith(PREFIX):
        name = ModelSpec(str(name), "python")
    if isinstance(name, ModelSpec):
        spec, path = name, Path()  # which the source of a function of the user's own says
        if spec.format == "python":
            spec = replace(spec, arguments=fetch_arguments(spec.arguments, cache, offline=True))
        else:
            path = Path(fetch_model(spec, cache=cache, offline=True)["path"])
    elif str(name).endswith(".json"):
        spec, path = _read_fetched(Path(name))
    else:
        path = Path(name) if Path(name).is_dir() else _locate(str(name))
        spec = ModelSpec(f"path:{path}", detect_format(path))
    model = _load(path, spec)
    if spec.data is not None and hasattr(model, "card"):
        model.card.setdefault("data", {"name": spec.data})
    for part in parts_of(model):
        if isinstance(part, NetworkScore):  # a closed form has nothing to be put anywhere
            execution.apply(part)
    return model


def detect_format(path: Path) -> str:
    """The format of a checkpoint on this machine, from its card or folder."""
    if path.is_dir():
        return folder_format(path)
    form = str(read_json(path.with_suffix(".json")).get("format"))
    return "edm" if form.startswith("edm/") else "native"


def _load(path: Path, spec: ModelSpec):
    """The model on the part of its range that is to be used."""
    model = _read(path, spec)
    if spec.format == "python" and spec.logsnr_range is None:
        return model  # the function has decided
    restrict(model, spec.logsnr_range)
    return model


def _check_kind(path: Path, spec: ModelSpec) -> None:
    """Raise CheckpointError where a folder stands for a format of one file, or the reverse."""
    if not path.exists():
        raise CheckpointError(f"{path} is missing")
    if (spec.format in ONE_FILE) == path.is_dir():
        allowed = "a .safetensors file" if spec.format in ONE_FILE else "a folder"
        hint = f" (or format: {folder_format(path)})" if path.is_dir() else ""
        raise CheckpointError(
            f"{path}: found, allowed with format {spec.format!r}: {allowed}{hint}"
        )


def _read(path: Path, spec: ModelSpec):
    if spec.format == "python":
        from cartoonists.models.python_models import load_python

        return load_python(spec.source, spec.arguments)
    _check_kind(path, spec)
    if spec.format == "diffusers":
        from cartoonists.models.diffusers_models import load_diffusers

        return load_diffusers(path, **spec.options())
    if spec.format == "edm":
        from cartoonists.models.edm_models import load_edm

        return load_edm(path, **spec.options())
    if spec.format == "latent":
        from cartoonists.models.latent_models import load_latent

        return load_latent(path, **spec.options())
    if spec.format == "pipeline":
        from cartoonists.models.pipeline_models import load_pipeline

        return load_pipeline(path, **spec.options())
    return _load_native(path)


def _read_fetched(record: Path) -> tuple[ModelSpec, Path]:
    """Spec and path of a fetched model, every file as it was when it was fetched."""
    content = read_json(record)
    if content.get("format") != FETCHED_FORMAT:
        raise CheckpointError(f"{record}: not a {FETCHED_FORMAT} record")
    spec, path = ModelSpec.of(content["spec"]), Path(content["path"])
    if not path.exists():
        raise CheckpointError(f"{path} is missing; {record} says it was there: fetch it again")
    files = _model_files(path, spec)
    for name, expected in content["files"].items():
        if name not in files:
            raise CheckpointError(f"{path}: {name} is missing; {record} says it was there")
        check_sha256(files[name], expected, str(record))
    return spec, path


def _load_native(weights: Path) -> ImageModel:
    card = native_card(weights.with_suffix(".json"))
    check_sha256(weights, card["sha256"], "its card")
    with torch.device("meta"):  # compared by names and shapes before memory is asked for
        match_tensors(build_network(card["architecture"]), [weights], weights)
    network = load_weights(build_network(card["architecture"]), weights)
    told = card["schedule"]
    schedule = SCHEDULES[told.get("kind", "VP")](told["logsnr_min"], told["logsnr_max"])
    scaling = PixelScaling(tuple(card["data"]["mean"]), tuple(card["data"]["std"]))
    shape = tuple(card["data"]["shape"])
    return ImageModel(network, shape, schedule, scaling, card, head=card["head"])


def _locate(name: str) -> Path:
    if name.endswith(".safetensors"):
        weights = Path(name)
    elif re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", name):
        weights = resources_dir() / BUNDLED / f"{name}.safetensors"
    else:
        raise _unknown(name)
    card = weights.with_suffix(".json")
    for file in (weights, card):
        if not file.is_file():
            if weights.parent.parent == resources_dir() / BUNDLED:
                raise _unknown(name)
            raise CheckpointError(f"model {name!r}: {file} is missing")
    return weights


def _unknown(name: str) -> CheckpointError:
    found = "a file of another kind" if Path(name).exists() else "no such file or folder"
    return CheckpointError(
        f"model {name!r}: {found}, and no bundled model of that name; allowed: "
        f"{', '.join(bundled_models())}, the path of a .safetensors file (native, EDM), or that of "
        "a folder (diffusers, latent, pipeline)"
    )


def save_model(weights: Path, network: nn.Module, card: dict) -> dict:
    """Write weights in half precision and the card beside them, each whole or not at all.

    What is stored is the model: figures in the card should be measured after ``load_model``.
    Returns the card with its format and sha256 filled in.
    """
    weights = Path(weights)
    tensors = sorted(network.state_dict().items())
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in tensors}
    with atomic(weights) as temporary:
        save_file(state, temporary)
        card = {"format": NATIVE_FORMAT, **card, "sha256": file_sha256(temporary)}
    write_card(weights.with_suffix(".json"), card)
    return card


def write_card(path: Path, card: dict) -> None:
    """Write a card, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
