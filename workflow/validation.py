"""Checks of the configuration: every mistake that can be known early ends in one line."""

import difflib
import errno
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# jsonschema would import a checker of IRIs that compiles dozens of grammars, most of the time of a
# run with nothing to do (benchmarks/workflow_cost.py), for a format that the schema does not have.
_IRI = "rfc3987_syntax"
sys.modules.setdefault(_IRI, None)  # type: ignore[arg-type]  # an import of None fails
from jsonschema import Draft202012Validator, ValidationError  # noqa: E402

if sys.modules[_IRI] is None:
    del sys.modules[_IRI]

from applicability import data_problem, description, left_out  # noqa: E402

from cartoonists.files.python_source import PythonSource, SourceError  # noqa: E402
from cartoonists.files.resources import ResourceError, resources_dir  # noqa: E402

SCHEMA = Path(__file__).parent / "schemas" / "config.schema.yaml"
EXECUTION_DEFAULTS = {  # the library's own
    "device": "auto",
    "precision": "fp32",
    "state": "float64",
    "compile": False,
    "batch_size": 128,
}
SOURCES = (
    "bundled, trained, path, path:<path>, url:<address>, hf:org/name@revision, "
    "python:<file.py or module>:<function>"
)
SOURCE = re.compile(
    r"bundled|trained|path(:.+)?|url:https?://.+\.safetensors|hf:[\w.-]+/[\w.-]+@[\w./-]+|python:.+:\w+"
)
FOLDER = "path:"  # before a data set that is a folder of images
DATA_SETS = ("fashion-mnist", "cifar10", "chest-xray", "emoji")  # that need no place of one's own
FID_IMAGES = 3 * 2048 // 2 + 1  # more than 1.5 a feature dimension (images.enough_for_frechet)
RENAMED = {  # keys of earlier versions, and what stands in their place
    "control.quantiles": "control.strengths, Φ⁻¹ of each quantile",
    "control.stochasticity": "scale of each window of control.noise",
    "control.noise_steps": "steps of each window of control.noise",
}
LONGEST = 250  # characters of a word in a message; paths are long
RESERVED = (
    "benchmarks",
    "claims",
    "figures",
    "logs",
    "measured",
    "notebooks",
    "theory",
    "training",
)  # under results/


class ConfigError(ValueError):
    """A configuration that no run can be planned from; the message is one line."""


def checked_models(config: Any) -> dict[str, dict[str, str]]:
    """The models of `planned` alone."""
    return planned(config)[0]


def planned(config: Any) -> tuple[dict[str, dict[str, str]], list[dict[str, str]]]:
    """The models to run, and rows of the topics that cannot take one of them (`applicability`).

    The models by name: ``reference`` for the library and ``sha256`` of the weights.

    ``data`` is the data set of the held-out images and of the classifier.
    A model that a rule has to fetch first has its ``spec`` too, and one that does not run as the
    library would by default has its settings in ``execution``.
    Exits with one line on stderr where ``config`` cannot be run (see `check`).
    """
    try:
        check(config)
        models = {name: _model(name, config) for name in config["run_models"]}
        described = _described(config)
        for name, found in described.items():
            if problem := data_problem(found, models[name]["data"]):
                raise ConfigError(f"models.{name}.{_one_line(problem)}")
        return models, left_out(described, config)
    except ConfigError as error:
        sys.exit(f"config error: {error}")


def bundled_model(config: dict, name: str) -> dict[str, Any]:
    """A bundled model that a topic runs beside those of the run, as `planned` gives them.

    Exits with one line on stderr where it cannot be had.
    """
    try:
        return _model(name, config | {"models": {name: {"source": "bundled"}}})
    except ConfigError as error:
        sys.exit(f"config error: {error}")


def _described(config: dict) -> dict[str, Any]:
    """What each model on this machine is.  Raises ConfigError where that cannot be understood."""
    found = {}
    for name in config["run_models"]:
        model = config["models"][name]
        kind, _, place = model["source"].partition(":")
        if kind == "bundled":
            place = str(_bundled(f"models/{name}.safetensors"))
        elif kind == "path":
            place = place or model["path"]
        try:
            here = place if kind in ("bundled", "path") else None
            found[name] = description(model, here)
        except RuntimeError as error:  # the library's CheckpointError
            raise ConfigError(_one_line(f"models.{name}: {error}")) from None
    return found


def has_classifier(data: str) -> bool:
    """Whether a classifier of that data set is bundled."""
    return not data.startswith(FOLDER) and _bundled(f"classifiers/{data}.safetensors").is_file()


def _bundled(path: str) -> Path:
    """A bundled file, where jobs look for it too.  Raises ConfigError without a registry."""
    try:
        return resources_dir() / path
    except ResourceError as error:
        raise ConfigError(_one_line(str(error))) from None


def check(config: Any) -> None:
    """Raise ConfigError, naming key, found and allowed, for the first mistake in ``config``."""
    errors = sorted(_validator().iter_errors(config), key=lambda e: _key(e.path))
    problems = [_sentence(error) for error in errors] or list(_unnamed(config))
    problems = problems or list(_contradictions(config))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(_one_line(problems[0]) + more)


def _unnamed(value: Any, place: str = "") -> Iterator[str]:
    """Keys that are no text: YAML reads ``null:``, ``1:`` and ``yes:`` as something else."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str):
            yield f"{place}{key!r}: found as a key, allowed: text"
        yield from _unnamed(inner, f"{place}{key}.")


@cache
def _validator() -> Draft202012Validator:
    """Of the configuration: what all topics share, and the settings of each topic, all required."""
    whole = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    for file in sorted(SCHEMA.parent.glob("*.schema.yaml")):
        if file != SCHEMA:
            topic = file.name.partition(".")[0]
            whole["properties"][topic] = yaml.safe_load(file.read_text(encoding="utf-8"))
            whole["required"].append(topic)
    return Draft202012Validator(whole)


def _model(name: str, config: dict) -> dict[str, Any]:
    model = config["models"][name]
    kind, _, place = model["source"].partition(":")
    if kind == "path":
        place = place or model["path"]
    if kind == "trained":
        return _executed(_trained(name, config), config)
    plain = model.keys() <= {"source", "path", "sha256", "data", "leave_out"} and kind in (
        "bundled",
        "path",
    )
    if plain:
        found = _checkpoint(name, {**model, "source": kind, "path": place})
    else:
        if kind == "path" and not Path(place).exists():
            raise ConfigError(f"models.{name}: {place} found, allowed: an existing file or folder")
        spec = {key: value for key, value in model.items() if key not in ("path", "leave_out")}
        spec["source"] = f"path:{place}" if kind == "path" else model["source"]
        if kind == "bundled":
            spec["name"] = name
        record = f"results/{name}/model.json"
        found = {"reference": record, "sha256": model.get("sha256"), "spec": spec}
        if kind == "python":
            found["files"] = _python_files(name, model)
    found["data"] = model.get("data", found.get("data", name.split("/")[0]))
    return _executed(found, config)


def _executed(found: dict[str, Any], config: dict) -> dict[str, Any]:
    changed = {k: v for k, v in config["execution"].items() if v != EXECUTION_DEFAULTS[k]}
    return {**found, "execution": changed} if changed else found


def _trained(name: str, config: dict) -> dict[str, Any]:
    """A model that a rule trains first; its held-out images are those of its training."""
    dataset = name.split("/")[0]
    own = "data" in config["training"][name]
    return {
        "reference": f"results/training/{name}.safetensors",
        "sha256": None,
        "trained": True,
        "data": f"{FOLDER}results/{dataset}/pictures.npz" if own else dataset,
    }


def _python_files(name: str, model: dict) -> dict[str, str]:
    """SHA-256 of each file that a function of the user's own hangs on (`PythonSource.files`)."""
    try:
        source = PythonSource.of(model["source"])
        source.check()
        return {str(file): _sha256(file) for file in source.files(model.get("arguments"))}
    except (SourceError, OSError) as error:
        raise ConfigError(f"models.{name}.{error}") from None


def _checkpoint(name: str, model: dict) -> dict[str, Any]:
    """Reference and SHA-256 of a checkpoint.  Raises ConfigError where it is missing or altered."""
    bundled = model["source"] == "bundled"
    weights = _bundled(f"models/{name}.safetensors") if bundled else Path(model["path"])
    if weights.is_dir():
        raise ConfigError(
            f"models.{name}: {weights} found, allowed: a .safetensors file, or a folder with "
            "format: diffusers, latent or pipeline"
        )
    try:
        found = _sha256(weights)
        card = weights.with_suffix(".json")
        said = json.loads(card.read_text(encoding="utf-8"))
        promised, data = said["sha256"], said.get("data", {}).get("name")
    except OSError as error:
        problem = f"{error.filename} found, allowed: a readable file ({error.strerror})"
        raise ConfigError(f"models.{name}: {problem}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"models.{name}: {card} found, allowed: a JSON card") from None
    for origin, expected in ((card, promised), ("the configuration", model.get("sha256", found))):
        if found != expected:
            problem = f"sha256 of {weights}: {found} found, allowed by {origin}: {expected}"
            raise ConfigError(f"models.{name}: {problem}")
    reference = {"reference": name if bundled else str(weights), "sha256": found}
    return reference | ({"data": data} if data else {})


def _sha256(path: Path) -> str:
    """Of a file, in pieces.  Raises OSError for a device as well, which may have no end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _contradictions(config: dict) -> Iterator[str]:
    """Mistakes that a schema cannot express."""
    for key, value in _leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{key}: {value} found, allowed: a finite number"
    low, high = config["logsnr_min"], config["logsnr_max"]
    if not low < high:
        yield f"logsnr_min: {low} found, allowed: below logsnr_max ({high})"
    for key, value in _leaves(config):
        if "switch_logsnr" in key and not low < value < high:
            yield f"{key}: {value} found, allowed: inside the logSNR range {low} to {high}"
    if config["theory"]["steps"] != sorted(config["theory"]["steps"]):
        yield f"theory.steps: {config['theory']['steps']} found, allowed: rising"
    control = config["control"]
    if other := set(control["noise_strengths"]) - set(control["strengths"]):
        allowed = ", ".join(map(str, control["strengths"]))
        yield f"control.noise_strengths: {min(other)} found, allowed as strengths: {allowed}"
    if config["data_dir"] is not None and not Path(config["data_dir"]).is_dir():
        yield f"data_dir: {config['data_dir']!r} found, allowed: null or an existing folder"
    yield from _inception_contradictions(config["high_density"])
    for i, name in enumerate(config["run_models"]):
        if name not in config["models"]:
            yield f"run_models[{i}]: {name!r} found, {_allowed(name, config['models'])}"
    yield from _training_contradictions(config)
    for name, model in config["models"].items():
        if name.split("/")[0] in RESERVED:
            yield f"models.{name}: found, allowed: a data set name not in {', '.join(RESERVED)}"
        yield from _model_contradictions(f"models.{name}", model)
    for kind, name in config["compression"]["further"]["models"].items():
        if name and not _bundled(f"models/{name}.safetensors").is_file():
            allowed = "null, or the name of a bundled model"
            yield f"compression.further.models.{kind}: {name!r} found, allowed: {allowed}"


def _training_contradictions(config: dict) -> Iterator[str]:
    trainings = config.get("training", {})
    for name, model in config["models"].items():
        if model["source"] == "trained" and name not in trainings:
            yield f"models.{name}.source: 'trained' found, allowed: with training.{name}"
        extra = next((key for key in model if key not in ("source", "leave_out")), None)
        if model["source"] == "trained" and extra:
            yield f"models.{name}.{extra}: found, allowed: no other key with source 'trained'"
    places: dict[str, tuple] = {}
    for name, settings in trainings.items():
        dataset, place = name.split("/")[0], settings.get("data")
        key = f"training.{name}.data"
        if place is None and dataset not in DATA_SETS:
            yield f"{key}: missing, allowed: path:<existing folder or file of images>"
        if place is not None and not _is_place(place):
            yield f"{key}: {place!r} found, allowed: path:<existing folder or file of images>"
        network = settings["architecture"]
        now = (place, network["channels"], network["size"])
        if place is not None and places.setdefault(dataset, now) != now:
            yield f"{key}: {now} found, allowed: one place, channels and size for all of {dataset}"
        start = settings["start"]
        if start is not None and f"{dataset}/{start}" not in trainings:
            yield f"training.{name}.start: {start!r} found, allowed: null, or with its own training"


def _is_place(data: str) -> bool:
    return data.startswith(FOLDER) and Path(data.removeprefix(FOLDER)).exists()


def _inception_contradictions(settings: dict) -> Iterator[str]:
    inception, key = settings["inception"], "high_density"
    if not inception:
        return
    if settings["n_pairs"] < FID_IMAGES:
        found = f"{key}.n_pairs: {settings['n_pairs']} found"
        yield f"{found}, allowed with inception: {FID_IMAGES} or more"
    kind, _, place = inception["source"].partition(":")
    if kind == "path" and not Path(place).is_file():
        yield f"{key}.inception.source: {place} found, allowed: path:<existing file>, url:<address>"


def _model_contradictions(key: str, model: dict) -> Iterator[str]:
    source, data = model["source"], model.get("data", "")
    if data.startswith(FOLDER) and not _is_place(data):
        yield f"{key}.data: {data!r} found, allowed: a name, or path:<existing folder of images>"
    if not SOURCE.fullmatch(source):
        yield f"{key}.source: {source!r} found, allowed: {SOURCES}"
    if (source == "path") != ("path" in model):
        yield f"{key}: source {source!r} found, allowed: 'path', with a path"
    if "sha256" in model and source == "bundled":
        yield f"{key}.sha256: found, allowed: with another source than 'bundled'"
    own, form = source.startswith("python:"), model.get("format")
    if form and own != (form == "python"):
        allowed = "python" if own else "python with source python:<file.py or module>:<function>"
        yield f"{key}.format: {form!r} found, allowed: {allowed}"
    if "arguments" in model and not own:
        yield f"{key}.arguments: found, allowed: with source python:<file.py or module>:<function>"
    low, high = model.get("logsnr_range", (0, 1))
    if not low < high:
        yield f"{key}.logsnr_range: [{low}, {high}] found, allowed: rising"
    if source.startswith("url:") and not model.keys() >= {"sha256", "card_sha256"}:
        yield f"{key}: sha256 or card_sha256 missing, allowed: both, with source url"
    revision = source.rpartition("@")[2]
    pinned = re.fullmatch("[0-9a-f]{40}", revision) or "sha256" in model
    if source.startswith("hf:") and not pinned:
        yield (
            f"{key}.source: revision {revision!r} found, allowed: a commit of 40 hexadecimal "
            "digits (or any revision, with sha256)"
        )


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{key}[{i}]")
    else:
        yield key, node


def _key(path) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return key.removeprefix(".")


def _allowed(found: Any, names) -> str:
    close = difflib.get_close_matches(str(found), [str(name) for name in names], n=1)
    hint = f" (meant {close[0]!r}?)" if close else ""
    return f"allowed: {', '.join(map(str, names)) or 'none'}{hint}"


def _sentence(error: ValidationError) -> str:
    key = _key(error.path) or "the configuration"
    found, rule, schema = error.instance, error.validator_value, error.schema
    if error.validator == "additionalProperties":
        known = list(schema["properties"])
        extra = next(name for name in found if name not in known)
        place = _key([*error.path, str(extra)])
        if place in RENAMED:
            return f"{place}: an earlier version's key found, allowed: {RENAMED[place]}"
        return f"{place}: unknown key, {_allowed(extra, known)}"
    if error.validator == "required":
        missing = next(name for name in rule if name not in found)
        return f"{_key([*error.path, missing])}: missing, allowed: {_range(schema, missing)}"
    if error.validator == "enum":
        return f"{key}: {_shown(found)} found, {_allowed(found, rule)}"
    if "propertyNames" in error.absolute_schema_path:
        key = f"{key}.{found}"
    return f"{key}: {_shown(found)} found, allowed: {_limits(schema)}"


def _range(schema: dict, name: str) -> str:
    child = schema.get("properties", {}).get(name, {})
    return child.get("description", "a value").rstrip(".")


def _shown(found: Any) -> str:
    kinds: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "nothing (null)"}
    text = next((words for kind, words in kinds.items() if isinstance(found, kind)), repr(found))
    return text if len(text) <= 80 else text[:77] + "..."


def _limits(schema: dict) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "minItems": "number of items at least",
        "minLength": "length at least",
        "pattern": "matching",
    }
    kinds = schema.get("type", "a name")
    parts = [" or ".join(kinds) if isinstance(kinds, list) else kinds]
    parts += [f"{word} {schema[name]}" for name, word in words.items() if name in schema]
    if schema.get("uniqueItems"):
        parts.append("no item twice")
    return ", ".join(parts)


def _one_line(text: str) -> str:
    """Without line breaks, characters that a terminal may obey, and words without end."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(word if len(word) <= LONGEST else f"{word[:LONGEST]}..." for word in words)
