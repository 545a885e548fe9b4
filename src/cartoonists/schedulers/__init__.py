"""Schedulers that put the log-density into any diffusers pipeline: one changed line.

    pipe.scheduler = TrackedScheduler.from_config(pipe.scheduler.config, seed=0)

`TrackedScheduler` samples and tells the log-density of what it drew, `HighDensityScheduler` ends in
a mode of what can still become of a noisy sample, `DensityGuidanceScheduler` steers the log-density
up or down.  May import from ``models`` and the rooms below it.
"""

import contextlib

from cartoonists.models._torchvision import import_torchvision

with contextlib.suppress(ModuleNotFoundError):  # diffusers does without
    import_torchvision()  # diffusers imports it, and it fails beside a CPU build of PyTorch

from cartoonists.schedulers.controlled import (  # noqa: E402  (after the line above)
    DensityGuidanceScheduler,
    HighDensityScheduler,
)
from cartoonists.schedulers.tables import SchedulerError  # noqa: E402
from cartoonists.schedulers.tracked import TrackedScheduler  # noqa: E402
from cartoonists.schedulers.variance import (  # noqa: E402
    Calibration,
    CalibrationError,
    IsotropicVariance,
)

__all__ = [
    "Calibration",
    "CalibrationError",
    "DensityGuidanceScheduler",
    "HighDensityScheduler",
    "IsotropicVariance",
    "SchedulerError",
    "TrackedScheduler",
]
