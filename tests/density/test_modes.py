"""Modes of p(x_s|x_t): derivatives, linear solves, the ODE against Newton, and its failures."""

import numpy as np
import pytest
import torch
from closed_forms import mixture
from scipy.sparse.linalg import LinearOperator, minres

from cartoonists import VP, Gaussian, GaussianMixture, NetworkScore, track_modes
from cartoonists.density.modes import (
    GAP_LIMIT,
    conjugate_gradients,
    dense_hessian,
    newton_modes,
    solve_dense,
    xi,
)
from cartoonists.paths.bases import Cosine
from cartoonists.paths.scores import ScoreModel


def two_peaks(schedule=None):
    """A broad and a narrow component in one dimension: the argmax jumps between them."""
    return GaussianMixture([0.6, 0.4], [[-1.0], [1.0]], [0.3, 0.02], schedule or VP())


def grid_mode(target, x_t, logsnr_t):
    """argmax of p(x_s|x_t) in one dimension by brute force on a grid, to its spacing."""
    schedule = target.schedule
    y = torch.linspace(-4, 4, 400_001, dtype=torch.float64)[:, None]
    ratio, variance = schedule.transition(logsnr_t, schedule.logsnr_max)
    log_posterior = target.log_prob(y) - 0.5 * (x_t - ratio * y[:, 0]) ** 2 / variance
    return y[log_posterior.argmax(), 0].item()


# --- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [1, 5])
def test_laplacian_gradient_of_a_mixture_is_that_of_autodiff(dimensions, schedule):
    target = mixture(dimensions, schedule, anisotropic=True)
    x = target.sample(4, seed=1, logsnr=1.0)
    closed = target.laplacian_gradient(x, 1.0)
    torch.testing.assert_close(closed, ScoreModel.laplacian_gradient(target, x, 1.0))
    assert closed.abs().min() > 0


def test_laplacian_gradient_of_a_mixture_in_another_basis_by_differences():
    means = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    variances = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]).view(2, 1, 2, 2)
    target = GaussianMixture([0.5, 0.5], means, variances, VP(), Cosine())
    x, step = target.sample(3, logsnr=0.0), 1e-5
    difference = torch.zeros_like(x)
    for i in range(4):
        e = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
        e.view(-1)[i] = step
        rise = target.laplacian(x + e, 0.0) - target.laplacian(x - e, 0.0)
        difference.flatten(1)[:, i] = rise / (2 * step)
    closed = target.laplacian_gradient(x, 0.0)
    torch.testing.assert_close(closed, difference, rtol=1e-6, atol=1e-6)


def test_laplacian_gradient_of_a_network_is_that_of_the_density_it_computes():
    target = mixture(3)

    def network(x, logsnr):  # the exact noise prediction, in the network's interface
        return -target.schedule.sigma(0.5) * ScoreModel._score(target, x.double(), 0.5)

    model = NetworkScore(network, (3,), target.schedule)
    x = target.sample(5, logsnr=0.5)
    found, true = model.laplacian_gradient(x, 0.5), target.laplacian_gradient(x, 0.5)
    torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-4)


def test_laplacian_gradient_of_a_linear_score_is_zero():
    target = Gaussian(torch.zeros(3), 0.3, VP())
    x = target.sample(2)
    zero = torch.zeros_like(x)
    torch.testing.assert_close(ScoreModel.laplacian_gradient(target, x, 1.0), zero)
    torch.testing.assert_close(target.laplacian_gradient(x, 1.0), zero, atol=1e-12, rtol=0)


def test_dense_hessian_is_that_of_the_closed_form():
    target = mixture(4)
    x = target.sample(3, logsnr=0.0)
    score, hessian = dense_hessian(target, x, 0.0)
    torch.testing.assert_close(hessian, target.hessian(x, 0.0))
    torch.testing.assert_close(score, target.score(x, 0.0))


# --- linear solves --------------------------------------------------------------------------------


def spd(n, size, smallest):
    g = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(n, size, size, generator=g, dtype=torch.float64))[0]
    values = torch.linspace(smallest, 5.0, size, dtype=torch.float64)
    matrix = basis @ torch.diag_embed(values.expand(n, -1)) @ basis.mT
    return matrix, torch.randn(n, size, generator=g, dtype=torch.float64)


def test_conjugate_gradients_agree_with_a_factorisation_and_with_minres():
    matrix, b = spd(3, 12, 0.2)
    found = conjugate_gradients(lambda v: torch.einsum("nij,nj->ni", matrix, v), b, 40)
    torch.testing.assert_close(found.z, torch.linalg.solve(matrix, b), rtol=1e-7, atol=1e-8)
    assert torch.allclose(found.smallest, torch.tensor(0.2).double(), rtol=1e-4)
    one = minres(LinearOperator((12, 12), matrix[1].numpy().dot), b[1].numpy(), rtol=1e-12)
    np.testing.assert_allclose(found.z[1].numpy(), one[0], rtol=1e-6, atol=1e-7)


def test_each_system_of_a_batch_is_solved_as_if_alone():
    matrix, b = spd(3, 12, 0.2)
    b[0] = 0.0
    matrix[2] = torch.eye(12)  # these two stop at once, the other goes on
    together = conjugate_gradients(lambda v: torch.einsum("nij,nj->ni", matrix, v), b, 40)
    alone = conjugate_gradients(lambda v: torch.einsum("nij,nj->ni", matrix[1:2], v), b[1:2], 40)
    torch.testing.assert_close(together.z[1:2], alone.z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together.z[2], b[2])
    assert torch.equal(together.z[0], b[0]) and torch.isinf(together.smallest[0])


def test_conjugate_gradients_see_an_indefinite_matrix():
    matrix, b = spd(2, 8, -0.5)
    found = conjugate_gradients(lambda v: torch.einsum("nij,nj->ni", matrix, v), b, 40)
    assert (found.smallest <= 0).all() and torch.isfinite(found.z).all()
    assert ((found.z * b).sum(1) > 0).all()  # still an ascent direction


def test_dense_solve_reports_the_smallest_eigenvalue():
    hessian = torch.diag_embed(torch.tensor([[1.5, -1.0, -3.0]], dtype=torch.float64))
    b = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    found = solve_dense(hessian, torch.tensor(0.5, dtype=torch.float64), b)
    torch.testing.assert_close(found.z, b / torch.tensor([[0.25, 1.5, 2.5]]).double())
    torch.testing.assert_close(found.smallest, torch.tensor([0.25]).double())


def test_xi_is_the_inverse_of_psi_and_starts_at_zero(schedule):
    snr_t, snr, sigma2 = np.exp(-1.0), np.exp(2.0), schedule.sigma2(2.0).item()
    psi = snr_t / (sigma2 * (snr - snr_t))
    assert xi(schedule, -1.0, 2.0).item() == pytest.approx(1 / psi)
    ratio, variance = schedule.transition(-1.0, 2.0)
    assert xi(schedule, -1.0, 2.0).item() == pytest.approx((variance / ratio**2).item())
    assert xi(schedule, -1.0, -1.0).item() == 0


# --- Newton ---------------------------------------------------------------------------------------


def test_newton_finds_the_highest_mode_of_a_fine_grid(schedule):
    target = two_peaks(schedule)
    x_t = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
    best = newton_modes(target, x_t, 0.0).best[:, 0]
    truth = [grid_mode(target, x.item(), 0.0) for x in x_t]
    np.testing.assert_allclose(best.numpy(), truth, atol=3e-5)
    assert (best > 0).any() and (best < 0).any()


# --- the equation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions, method", [(1, "dense"), (6, "dense"), (6, "cg"), (256, "cg")])
def test_the_mode_ode_agrees_with_newton(dimensions, method, schedule):
    target = mixture(dimensions, schedule)
    x_t = target.sample(3, seed=4, logsnr=1.0)
    steps = 96 if dimensions < 256 else 64
    run = track_modes(target, x_t, 1.0, steps, method=method, starts=1)
    assert run.ok.all(), run.status
    gaps = (run.x - newton_modes(target, x_t, 1.0, samples=0).best).abs().amax(1)
    assert gaps.max() < 1e-6
    torch.testing.assert_close(
        run.log_density, target.log_prob(run.x), atol=1e-6 * max(dimensions, 10), rtol=0
    )


def test_without_the_correction_the_end_point_is_off():
    target = two_peaks()
    x_t = torch.tensor([[-0.6], [0.6]], dtype=torch.float64)
    best = newton_modes(target, x_t, 0.0).best
    corrected, plain = (track_modes(target, x_t, 0.0, 96, correction=c) for c in (True, False))
    error, hd_error = ((run.x - best).abs().max() for run in (corrected, plain))
    assert error < 1e-5 and hd_error > 1e-3
    assert plain.gap_nats.max() > 100 * corrected.gap_nats.max()
    torch.testing.assert_close(plain.log_density, target.log_prob(plain.x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("correction", [True, False])
def test_both_are_exact_for_gaussian_data(correction, schedule):
    """The mode of a Gaussian posterior is its mean, in closed form."""
    variances = torch.tensor([1e-3, 0.3, 4.0], dtype=torch.float64)
    mean = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    target = Gaussian(mean, variances, schedule)
    x_t = target.sample(2, seed=3, logsnr=-2.0)
    run = track_modes(target, x_t, -2.0, 128, correction)
    end = schedule.logsnr_max
    alpha = schedule.alpha(end)
    clean = alpha**2 * variances + schedule.sigma2(end)
    ratio, variance = schedule.transition(-2.0, end)
    gain = clean * ratio / (ratio**2 * clean + variance)
    truth = alpha * mean + gain * (x_t - ratio * alpha * mean)
    torch.testing.assert_close(run.x, truth, atol=1e-6, rtol=1e-6)
    assert run.ok.all()


@pytest.mark.parametrize("solver, order", [("heun", 2), ("rk4", 4)])
def test_the_mode_ode_converges_at_the_solvers_order(solver, order):
    target = two_peaks()
    x_t = torch.tensor([[-0.9], [1.3]], dtype=torch.float64)
    best = newton_modes(target, x_t, 0.0, samples=0).best
    steps = [16, 32, 64]
    errors = [
        (track_modes(target, x_t, 0.0, n, solver=solver, starts=0).x - best).norm() for n in steps
    ]
    slope = -np.polyfit(np.log(steps), np.log([e.item() for e in errors]), 1)[0]
    assert slope == pytest.approx(order, abs=0.5)


# --- failures -------------------------------------------------------------------------------------


def test_a_branch_that_ends_and_a_mode_that_is_not_the_highest_are_reported():
    target = two_peaks()
    x_t = torch.tensor([[0.125], [0.0], [1.2]], dtype=torch.float64)
    run = track_modes(target, x_t, -2.0, 64, starts=8)
    assert run.status == ["indefinite", "lower mode", "ok"]
    assert run.ok.tolist() == [False, False, True]
    assert run.smallest_eigenvalue[0] <= 0
    modes = newton_modes(target, x_t, -2.0)
    assert grid_mode(target, 0.0, -2.0) == pytest.approx(modes.best[1].item(), abs=3e-5)
    assert run.x[1].item() < 0 < modes.best[1].item()
    lost = modes.best_log_posterior[1] - modes.log_posterior[1].min()
    assert run.deficit_nats[1].item() == pytest.approx(lost.item(), abs=1e-6)


def test_too_few_steps_end_off_the_mode():
    target = mixture(2, spread=0.5)
    x_t = target.sample(2, seed=4, logsnr=-3.0)
    run = track_modes(target, x_t, -3.0, 2, solver="euler", starts=0)
    assert set(run.status) == {"off the mode"}
    assert (run.gap_nats > GAP_LIMIT).all()


def test_a_sample_does_not_depend_on_its_batch():
    target = two_peaks()
    x_t = torch.tensor([[0.1], [0.125], [-0.5], [0.9]], dtype=torch.float64)
    together = track_modes(target, x_t, -2.0, 32, seed=5, starts=2, method="cg")
    alone = track_modes(target, x_t[2:3], -2.0, 32, seeds=[7], starts=2, method="cg")
    torch.testing.assert_close(together.x[2:3], alone.x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together.deficit_nats[2:3], alone.deficit_nats, rtol=1e-9, atol=1e-9)


def test_a_network_has_no_log_density_to_compare():
    target = mixture(2)

    def network(x, logsnr):
        level = float(logsnr[0])
        return -target.schedule.sigma(level) * ScoreModel._score(target, x.double(), level)

    model = NetworkScore(network, (2,), target.schedule)
    x_t = target.sample(2, logsnr=1.0)
    run = track_modes(model, x_t, 1.0, 24)
    assert torch.isnan(run.log_density).all() and torch.isnan(run.deficit_nats).all()
    known = target.log_prob(x_t, 1.0)
    given = track_modes(model, x_t, 1.0, 24, log_density=known)
    torch.testing.assert_close(given.log_density, target.log_prob(given.x), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"logsnr_t": 11.0}, "logsnr_t: 11.0"),
        ({"logsnr_t": 10.0}, "below logsnr_max"),
        ({"method": "lu"}, "method: 'lu'"),
        ({"starts": -1}, "starts: -1"),
        ({"steps": 0}, "steps: 0"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    target = two_peaks()
    arguments = {"logsnr_t": 0.0, "steps": 4} | options
    with pytest.raises(ValueError, match=message):
        track_modes(target, torch.zeros(1, 1), **arguments)
