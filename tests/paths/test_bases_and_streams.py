import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch

from cartoonists.paths.bases import Columns, Cosine, basis_named
from cartoonists.paths.streams import Streams, sample_seeds


def test_cosine_basis_is_scipys_orthonormal_dct():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    expected = scipy.fft.dctn(x.numpy(), axes=(1, 2, 3), norm="ortho")
    assert np.allclose(Cosine().coordinates(x), expected)


def test_bases_invert_and_keep_lengths():
    x = torch.randn(4, 2, 4, 4, dtype=torch.float64)
    samples = torch.randn(20, 2, 4, 4, dtype=torch.float64)
    for basis in (Cosine(), Columns.principal(samples), basis_named("pixels")):
        z = basis.coordinates(x)
        assert torch.allclose(basis.vector(z), x, atol=1e-10)
        assert torch.allclose(z.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_principal_components_diagonalise_the_covariance():
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=g, dtype=torch.float64)
    samples = torch.randn(400, 5, generator=g, dtype=torch.float64) @ mixing
    z = Columns.principal(samples).coordinates(samples - samples.mean(0))
    covariance = z.T @ z / len(z)
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    assert off_diagonal.abs().max() < 1e-9 * covariance.diagonal().max()


def test_unknown_basis_is_named():
    with pytest.raises(ValueError, match="'wavelets' found, allowed: pixels, dct"):
        basis_named("wavelets")


def test_a_stream_depends_on_its_own_seed_alone():
    together = Streams(range(5, 9), "path").normal((3, 2))
    alone = Streams([7], "path").normal((3, 2))
    assert torch.equal(together[2:3], alone)


def test_streams_continue_and_purposes_differ():
    stream = Streams([0], "path")
    first, second = stream.normal((4,)), stream.normal((4,))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([first, second], 1), Streams([0], "path").normal((8,)))
    assert not torch.equal(first, Streams([0], "prior").normal((4,)))


def test_draws_are_normal_and_rademacher():
    x = Streams(range(50), "test").normal((200,)).flatten().numpy()
    assert scipy.stats.kstest(x, "norm").pvalue > 0.01
    signs = Streams(range(50), "test").rademacher((200,)).flatten()
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 4 / np.sqrt(len(signs))


@pytest.mark.parametrize(("seed", "n"), [(-1, 3), (0, 0)])
def test_seeds_are_checked(seed, n):
    with pytest.raises(ValueError, match="found, allowed"):
        sample_seeds(seed, n)
