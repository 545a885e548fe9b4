"""Measure and steer the log-density of diffusion samples.

The names below are the library's front door; every one states its equation and its source.  Each is
imported when it is first used, so that reading a table does not import PyTorch.

The rooms behind it, from the ground up; none imports from a room above it (the contract in
pyproject.toml): ``files``; ``paths`` and ``statistics``; ``density`` and ``images``; ``models``;
``experiments``, ``report`` and ``schedulers``; ``commands``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cartoonists.models._torchvision import watch_for_torchvision

if TYPE_CHECKING:
    from cartoonists.density.guidance import sample_guided
    from cartoonists.density.likelihood import bits_per_dim, elbo, ode_log_density, sample_ode
    from cartoonists.density.modes import track_modes
    from cartoonists.density.sampling import sample_high_density
    from cartoonists.density.tracking import track_reverse_sde
    from cartoonists.models.checkpoints import ImageModel, load_model
    from cartoonists.models.pipeline_models import from_pipeline
    from cartoonists.models.python_models import ddpm_model
    from cartoonists.paths.schedules import VE, VP, DiscreteVP, RectifiedFlow
    from cartoonists.paths.scores import Gaussian, GaussianMixture, NetworkScore

_HOMES = {
    "density.guidance": ("sample_guided",),
    "density.likelihood": ("bits_per_dim", "elbo", "ode_log_density", "sample_ode"),
    "density.modes": ("track_modes",),
    "density.sampling": ("sample_high_density",),
    "density.tracking": ("track_reverse_sde",),
    "models.checkpoints": ("ImageModel", "load_model"),
    "models.pipeline_models": ("from_pipeline",),
    "models.python_models": ("ddpm_model",),
    "paths.schedules": ("VE", "VP", "DiscreteVP", "RectifiedFlow"),
    "paths.scores": ("Gaussian", "GaussianMixture", "NetworkScore"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "VE",
    "VP",
    "DiscreteVP",
    "Gaussian",
    "GaussianMixture",
    "ImageModel",
    "NetworkScore",
    "RectifiedFlow",
    "bits_per_dim",
    "ddpm_model",
    "elbo",
    "from_pipeline",
    "load_model",
    "ode_log_density",
    "sample_guided",
    "sample_high_density",
    "sample_ode",
    "track_modes",
    "track_reverse_sde",
]


watch_for_torchvision()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
