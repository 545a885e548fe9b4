"""The one PF-ODE estimator of log p that measures all samples and images alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cartoonists.density.likelihood import Likelihood, ode_log_density
from cartoonists.density.posterior import Posterior
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.solvers import Callback


@dataclass(frozen=True)
class FlowSettings:
    """The PF-ODE in ``steps`` steps spaced by the posterior, ``probes`` fresh probes at each."""

    steps: int
    probes: int = 1
    solver: str = "adams"


def flow_log_density(
    model: ScoreModel,
    x: Tensor,
    seeds: Sequence[int],
    settings: FlowSettings,
    posterior: Posterior | None = None,
    callback: Callback | None = None,
) -> Likelihood:
    """log p_λmax(x) by the PF-ODE, ``[n]``, nats, with its estimated error.

    The error (`FlowError` where the solver is *adams*) holds the noise of the probes too.
    Sample i's probes depend on ``seeds[i]`` alone; two samples with the same seed share them
    (common random numbers), so their difference is more precise than either.
    """
    return ode_log_density(
        model, x, settings.steps, settings.solver, "hutchinson", seeds=seeds,
        probes=settings.probes, posterior=posterior, error=True, callback=callback,
    )  # fmt: skip
