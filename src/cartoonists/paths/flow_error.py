"""The error of a PF-ODE's log-density, from the evaluations that its path has made anyway."""

import torch
from torch import Tensor

from cartoonists.paths.divergence import Derivatives, Divergence, HutchinsonDivergence
from cartoonists.paths.schedules import Time
from cartoonists.paths.scores import ScoreModel, _dot
from cartoonists.paths.solvers import Callback, slopes_used

# error constants of the Adams–Moulton corrector over those of its predictor of k slopes
# (Hairer et al., 1993, III.1): |C*_{k+1}/C_k|
RATIO = {1: 1 / 6, 2: 1 / 10, 3: 19 / 270, 4: 27 / 502}
RATE = 0.2  # of change of a derivative, per unit of λ: measured, benchmarks/NOTES.md


class FlowError(Divergence):
    """Hutchinson's estimate, watched along an Adams path of the PF-ODE, and the error it shows.

    Two parts, added as variances.  *Probes*: the coordinates ``d_i = σ² v_i (H v)_i``, whose sum is
    the trace, vary from evaluation to evaluation, as probes are fresh.  What is left of d after a
    line through its neighbours in λ, of weights a, b, has the variance ``(1 + a² + b²) Var d_i``,
    and ``Var tr = 2 Σ Var d_i``; where the Hessian bends, that is in it, too.  *Steps*: moving x by
    δ moves log p by s·δ, which the flow carries to its end.  So a corrector that errs by a share of
    its distance from the predictor, `RATIO` times `RATE` times the step, errs by so much of
    s·(x_predicted - x_corrected).  What both leave out, and how true they are: docs/benchmarks.md.
    """

    def __init__(self, estimator: HutchinsonDivergence):
        self.estimator, self.cost = estimator, estimator.cost
        self._probes: Tensor | float = 0.0  # their variance at the inner evaluations
        self._slip: Tensor | float = 0.0
        self._nodes: list[tuple[float, Tensor]] = []
        self._last: Tensor | None = None  # the variance of the last one, if the path ends there
        self._steps = 0

    def __call__(
        self, model: ScoreModel, x: Tensor, logsnr: Time, projected: bool = False
    ) -> Derivatives:
        """The estimate at x; x is where the predictor came."""
        at = self.estimator(model, x, logsnr, projected)
        coordinates = self.estimator.basis.coordinates
        terms = [coordinates(v) * coordinates(product) for v, product in at.products]
        scaled = model.schedule.g2(logsnr) * torch.stack(terms).mean(0)
        self._nodes = [*self._nodes, (float(logsnr), scaled.double().flatten(1))][-3:]
        if len(self._nodes) == 3:
            self._bend()
        self._predicted = x, at.score
        return at

    def then(self, callback: Callback | None) -> Callback:
        """What the solver calls after each step, before ``callback``."""

        def after(logsnr: float, x: Tensor, log_density: Tensor) -> None:
            self._corrected(x)
            if callback is not None:
                callback(logsnr, x, log_density)

        return after

    def _corrected(self, x: Tensor) -> None:
        """The corrector came to x where the predictor came to the x of the last evaluation."""
        predicted, score = self._predicted
        self._steps += 1
        step = self._nodes[-1][0] - self._nodes[-2][0]
        ratio = RATIO[min(self._steps, slopes_used(step))]
        self._slip = self._slip + RATE * abs(step) * ratio * _dot(score, predicted - x)

    def _bend(self) -> None:
        """Add the middle one of the last three evaluations, and the first one of all."""
        (a, left), (b, middle), (c, right) = self._nodes
        share = (b - a) / (c - a)
        bend = middle - (1 - share) * left - share * right
        variance = bend.square().sum(1) / (1 + (1 - share) ** 2 + share**2)
        first = 0.0 if self._last is not None else (b - a) ** 2
        self._probes = self._probes + ((c - a) ** 2 + first) / 8 * variance
        self._last = (c - b) ** 2 / 8 * variance

    def error(self) -> Tensor:
        """Of the log-density at the end of the path, ``[batch]``, nats.

        Raises ValueError for fewer than three evaluations.
        """
        if self._last is None:
            raise ValueError(f"steps: {self._steps} found, allowed: 2 or more, to tell the error")
        return (self._probes + self._last + self._slip**2) ** 0.5
