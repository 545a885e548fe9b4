"""More or less detail in any diffusers pipeline: high-density sampling and density guidance."""

import math

from torch import Tensor

from cartoonists.schedulers.base import EndsAtLogSNR
from cartoonists.schedulers.tables import SchedulerError
from cartoonists.schedulers.tracked import Calibrated
from cartoonists.schedulers.walks import GuidedWalk, HighDensityWalk


class HighDensityScheduler(Calibrated):
    """High-density sampling (Karczewski et al., 2024, algorithm 1) in any diffusers pipeline.

    The ancestral chain to ``switch_logsnr``, then the HD-ODE, which follows the mode of what x_λ
    can still become: an early switch gives blur, a late one cartoons.  One evaluation a step, of
    order 1; in the limit of many steps the end points are those of
    `cartoonists.density.sampling.sample_high_density`.  Its log-density would need second
    derivatives and is not told.
    ``sample_switch`` is x at the switch, ``sample`` at ``logsnr_end``.
    """

    own = EndsAtLogSNR.own | {"switch_logsnr": 0.0}

    def __init__(self, source_class, config, **own):
        super().__init__(source_class, config, **own)
        if not math.isfinite(self.switch_logsnr):
            raise SchedulerError(f"switch_logsnr: {self.switch_logsnr} found, allowed: finite")

    def _walk_from(self, first, index):
        x = first.z
        return HighDensityWalk(
            self.table.schedule, self._wanted(index), x, self.posterior, self._seeds(x),
            self.switch_logsnr,
        )  # fmt: skip

    @property
    def sample_switch(self) -> Tensor:
        """x at ``switch_logsnr``, ``[batch, …]``, where the run passed it."""
        return self._seen(self.switch_logsnr)


class DensityGuidanceScheduler(EndsAtLogSNR):
    """Density guidance without noise (Karczewski et al., 2025) in any diffusers pipeline.

    ``y' = ½ η (x̂_0 - y)``, ``η = 1 + strength √(2D)/|ε̂|²``: strength above 0 is denser and calmer,
    below 0 has more detail, 0 is the PF-ODE.  It is Φ⁻¹(q) of the follow-up's q, which sets a rate,
    ½ strength √(2D) nats per unit of λ, and is no quantile of log p_0.  η stays within
    1 ± ``bound``.  The latent is taken as the pipeline draws it; `sample_guided` moves it to the
    median norm first, and has the same end points in the limit of many steps from the same latent.
    """

    own = EndsAtLogSNR.own | {"strength": 1.0, "bound": 1.0}

    def __init__(self, source_class, config, **own):
        super().__init__(source_class, config, **own)
        if not math.isfinite(self.strength):
            raise SchedulerError(f"strength: {self.strength} found, allowed: finite")
        if not self.bound > 0:
            raise SchedulerError(f"bound: {self.bound} found, allowed: above 0")

    def _start(self, first, index):
        wanted = self._wanted(index)
        return GuidedWalk(self.table.schedule, wanted, self.strength, self.bound)
