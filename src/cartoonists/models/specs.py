"""Where a model comes from and how it is read: one entry of ``models:`` in the configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from cartoonists.files.configs import rising_pair
from cartoonists.files.errors import CheckpointError
from cartoonists.files.python_source import PREFIX

ONE_FILE = ("native", "edm")  # weights with a card beside them
FOLDERS = ("diffusers", "latent", "pipeline")
FORMATS = (*ONE_FILE, *FOLDERS, "python")
SETTINGS: dict[str, tuple[type, ...]] = {  # types of those settings that are no text
    "source": (str,),
    "format": (str,),
    "name": (str,),
    "prompt": (str,),
    "label": (int, NoneType),
    "null_label": (int, NoneType),
    "resolution": (int, NoneType),
    "guidance": (int, float),
    "arguments": (Mapping, NoneType),
    "data_range": (tuple, list, NoneType),
    "logsnr_range": (tuple, list, NoneType),
}
OPTIONS = {  # beyond source, format and checksums: which format knows which
    "label": ("diffusers", "edm", "pipeline"),
    "null_label": ("diffusers", "edm"),
    "guidance": ("diffusers", "edm", "latent", "pipeline"),
    "data_range": ("diffusers", "edm"),
    "variant": ("diffusers", "latent", "pipeline"),
    "prompt": ("latent", "pipeline"),
    "embeddings": ("latent",),
    "resolution": ("latent", "pipeline"),
    "arguments": ("python",),
}


@dataclass(frozen=True)
class ModelSpec:
    """Where a model comes from and how it is read; the values of ``models:`` in the configuration.

    source: *bundled* (by ``name``), *path:<file or folder>*, *url:<address of a .safetensors>* (its
    card has the same address with .json), *hf:org/name@revision* or *python:<file.py or
    module>:<function>*.  ``sha256`` and ``card_sha256`` are needed for url.  ``logsnr_range`` is
    the part of the model's range of λ to use (`schedules.limited`).  The rest belongs to single
    formats (see ``OPTIONS``).
    Raises CheckpointError, naming key, found and allowed.
    """

    source: str
    format: str = "native"
    name: str = ""
    data: str | None = None
    sha256: str | None = None
    card_sha256: str | None = None
    label: int | None = None
    null_label: int | None = None
    guidance: float = 1.0
    data_range: tuple[float, float] | None = None
    prompt: str = ""
    embeddings: str | None = None
    resolution: int | None = None
    variant: str | None = None
    arguments: Mapping[str, Any] | None = None
    logsnr_range: tuple[float, float] | None = None

    def __post_init__(self):
        self._check_types()
        kind = self.source.split(":")[0]
        if self.format not in FORMATS:
            raise CheckpointError(f"format: {self.format!r} found, allowed: {', '.join(FORMATS)}")
        if kind not in ("bundled", "path", "url", "hf", "python"):
            raise CheckpointError(
                f"source: {self.source!r} found, allowed: bundled, path:<path>, url:<address>, "
                "hf:org/name@revision, python:<file.py or module>:<function>"
            )
        allowed = {
            "bundled": ("native",), "path": ONE_FILE + FOLDERS, "url": ONE_FILE, "hf": FOLDERS,
            "python": ("python",),
        }  # fmt: skip
        if self.format not in allowed[kind]:
            raise CheckpointError(
                f"format: {self.format!r} found, allowed with source {kind}: "
                f"{', '.join(allowed[kind])}"
            )
        if kind == "url" and not (self.sha256 and self.card_sha256):
            raise CheckpointError("sha256, card_sha256: missing, both are needed with source url")
        for name in ("data_range", "logsnr_range"):
            if getattr(self, name) is not None:
                rising_pair("settings", name, getattr(self, name))
        for option, formats in OPTIONS.items():
            default = next(f.default for f in fields(self) if f.name == option)
            if getattr(self, option) != default and self.format not in formats:
                raise CheckpointError(
                    f"{option}: found with format {self.format!r}, allowed: {', '.join(formats)}"
                )

    def _check_types(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            allowed = SETTINGS.get(field.name, (str, NoneType))
            if not isinstance(value, allowed) or (isinstance(value, bool)):
                words = ", ".join(t.__name__ for t in allowed if t is not NoneType)
                raise CheckpointError(f"{field.name}: {value!r} found, allowed: {words}")
        if not math.isfinite(self.guidance):
            raise CheckpointError(f"guidance: {self.guidance} found, allowed: a finite number")

    @classmethod
    def of(cls, settings: Mapping[str, Any], name: str = "") -> "ModelSpec":
        """From one entry of the configuration, *path* with its ``path`` too.

        Raises CheckpointError for an unknown key.
        """
        known = [f.name for f in fields(cls)]
        values = {"name": name, **settings}
        if values.get("source") == "path":
            if not isinstance(values.get("path"), str | Path):
                raise CheckpointError("path: missing, needed with source path")
            values["source"] = f"path:{values.pop('path')}"
        for key in values:
            if key not in known:
                raise CheckpointError(f"{key}: unknown key, allowed: {', '.join([*known, 'path'])}")
        if "source" not in values:
            raise CheckpointError("source: missing")
        for key in ("embeddings", "source"):
            if isinstance(values.get(key), Path):
                values[key] = str(values[key])
        for key in ("data_range", "logsnr_range"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        if str(values["source"]).startswith(PREFIX):
            values.setdefault("format", "python")
        return cls(**values)

    @property
    def is_remote(self) -> bool:
        """Whether the network may be needed."""
        given = (self.arguments or {}).values()
        return self.source.startswith(("url:", "hf:")) or any(isinstance(v, Mapping) for v in given)

    def options(self) -> dict[str, Any]:
        """The keyword arguments of the format's loader."""
        return {
            name: getattr(self, name) for name, forms in OPTIONS.items() if self.format in forms
        }
