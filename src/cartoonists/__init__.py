"""Measure and steer the log-density of diffusion samples.

The names below are the library's front door; every one states its equation and its source.  Each is
imported when it is first used, so that reading a table does not import PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cartoonists.checkpoints import ImageModel, load_model
    from cartoonists.likelihood import bits_per_dim, elbo, ode_log_density, sample_ode
    from cartoonists.modes import track_modes
    from cartoonists.sampling import sample_high_density
    from cartoonists.schedules import VE, VP, DiscreteVP
    from cartoonists.scores import Gaussian, GaussianMixture, NetworkScore
    from cartoonists.tracking import track_reverse_sde

_HOMES = {
    "checkpoints": ("ImageModel", "load_model"),
    "likelihood": ("bits_per_dim", "elbo", "ode_log_density", "sample_ode"),
    "modes": ("track_modes",),
    "sampling": ("sample_high_density",),
    "schedules": ("VE", "VP", "DiscreteVP"),
    "scores": ("Gaussian", "GaussianMixture", "NetworkScore"),
    "tracking": ("track_reverse_sde",),
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
    "bits_per_dim",
    "elbo",
    "load_model",
    "ode_log_density",
    "sample_high_density",
    "sample_ode",
    "track_modes",
    "track_reverse_sde",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
