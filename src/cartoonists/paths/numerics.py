"""How a path is integrated: what travels together from a front-door function to the solver."""

from collections.abc import Sequence
from dataclasses import dataclass

from cartoonists.paths.bases import Basis
from cartoonists.paths.divergence import Divergence, default_divergence, make_divergence
from cartoonists.paths.scores import ScoreModel


@dataclass(frozen=True)
class Numerics:
    """Solver, traces and tolerances of one integration.

    ``solver`` as in `make_stepper`, or *dopri5*; ``divergence`` as in `make_divergence`, by default
    `default_divergence` of the model; ``probes`` of Hutchinson's estimate, drawn in ``basis``;
    ``rtol`` and ``atol`` of *dopri5*.
    """

    solver: str = "heun"
    divergence: str | None = None
    probes: int = 1
    basis: Basis | None = None
    rtol: float = 1e-5
    atol: float = 1e-5

    def estimator(self, model: ScoreModel, seeds: Sequence[int], fresh: bool = True) -> Divergence:
        """The estimator of the traces for samples of these seeds; ``fresh``: new probes each time.

        Raises ValueError for an unknown divergence.
        """
        kind = self.divergence or default_divergence(model)
        return make_divergence(kind, seeds, self.probes, self.basis, fresh)
