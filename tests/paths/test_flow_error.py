"""The error that a PF-ODE's own evaluations tell, against closed forms."""

import pytest
import torch
from closed_forms import mixture

from cartoonists import VP, ode_log_density
from cartoonists.density.posterior import mixture_table
from cartoonists.paths.scores import ScoreModel

TARGET = mixture(256, seed=1, anisotropic=True)
TABLE = mixture_table(TARGET, points=41, samples=32)
X = TARGET.sample(48, seed=3, logsnr=10.0)


def measured(steps, divergence="hutchinson", x=X, **options):
    options = {"seed": 0, "posterior": TABLE, "error": True} | options
    return ode_log_density(TARGET, x, steps, "adams", divergence, **options)


@pytest.mark.parametrize("steps", [7, 16, 31])
@pytest.mark.parametrize("divergence", ["hutchinson", "difference"])
def test_the_estimate_is_seldom_far_below_the_error(steps, divergence):
    run = measured(steps, divergence)
    error = (run.log_density - TARGET.log_prob(X)).abs()
    assert (run.error < error / 3).double().mean() < 0.05
    assert 1 / 3 < (run.error.square().mean() / error.square().mean()).sqrt() < 4


def test_it_costs_no_evaluation_and_leaves_the_value_alone():
    told, plain = measured(16), measured(16, error=False)
    assert told.nfe == plain.nfe == 17 and plain.error is None
    assert torch.equal(told.log_density, plain.log_density)


def test_more_probes_lower_it():
    few, many = measured(31), measured(31, probes=8)
    assert 0.25 < many.error.mean() / few.error.mean() < 0.7  # 1/√8 were it the probes' alone


def test_it_depends_on_the_seed_alone_and_a_callback_is_still_called():
    seen = []
    whole = measured(8, seeds=range(48), callback=lambda logsnr, *_: seen.append(logsnr))
    part = measured(8, x=X[5:7], seeds=[5, 6])
    assert len(seen) == 8
    torch.testing.assert_close(part.error, whole.error[5:7])


def test_exact_traces_keep_step_halving_and_too_few_steps_are_refused():
    assert measured(8, "exact").nfe == 9 + 5
    with pytest.raises(ValueError, match="steps: 1 found"):
        measured(1)


class RunsOff(ScoreModel):
    """N(0, I), but wrong where |x_1| > 2, as a network is at points that it never saw."""

    schedule, shape = VP(), (16,)

    def score(self, x, logsnr):
        beyond = torch.relu(x[:, :1].abs() - 2) * x[:, :1].sign()
        return -x + torch.nn.functional.pad(-2 * beyond, (0, 15))

    def score_and_hvp(self, x, logsnr, v):
        return torch.func.jvp(lambda y: self.score(y, logsnr), (x,), (v,))


def test_paths_that_run_off_are_not_trusted_and_others_are():
    model = RunsOff()
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 0] = torch.tensor([0.0, -1.9, 1.5, 2.1, -2.5, 2.9])
    run = ode_log_density(model, x, 16, "adams", "hutchinson", error=True)
    fine = ode_log_density(model, x, 100, "rk4", "exact")
    error = (run.log_density - fine.log_density).abs()
    assert run.nfe == 17 and (error[3:] > 16).all()  # a nat a dimension and more
    assert (run.error[3:] > 1.6).all() and (run.error[:3] < 1.6).all()  # 0.1 a dimension
