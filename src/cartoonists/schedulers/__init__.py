"""Schedulers that put the log-density into any diffusers pipeline: one changed line.

    pipe.scheduler = TrackedScheduler.from_config(pipe.scheduler.config, seed=0)

`TrackedScheduler` samples and tells the log-density of what it drew, `HighDensityScheduler` ends in
a mode of what can still become of a noisy sample, `DensityGuidanceScheduler` steers the log-density
up or down.  May import from ``models`` and the rooms below it.
"""

from cartoonists.schedulers.controlled import DensityGuidanceScheduler, HighDensityScheduler
from cartoonists.schedulers.tables import SchedulerError
from cartoonists.schedulers.tracked import TrackedScheduler
from cartoonists.schedulers.variance import Calibration, CalibrationError, IsotropicVariance

__all__ = [
    "Calibration",
    "CalibrationError",
    "DensityGuidanceScheduler",
    "HighDensityScheduler",
    "IsotropicVariance",
    "SchedulerError",
    "TrackedScheduler",
]
