"""Measure and steer the log-density of diffusion samples.

The names below are the library's front door; every one states its equation and its source.
"""

from cartoonists.checkpoints import ImageModel, load_model
from cartoonists.likelihood import bits_per_dim, elbo, ode_log_density, sample_ode
from cartoonists.modes import track_modes
from cartoonists.sampling import sample_high_density
from cartoonists.schedules import VE, VP, DiscreteVP
from cartoonists.scores import Gaussian, GaussianMixture, NetworkScore
from cartoonists.tracking import track_reverse_sde

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
