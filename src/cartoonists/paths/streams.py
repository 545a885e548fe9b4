"""Random numbers that depend on a sample's own seed alone, never on its batch."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Streams:
    """One counter-based random stream per sample (Philox; Salmon et al., 2011).

    The key is (seed, purpose), so path noise, probes and initial noise of one seed are independent,
    and sample i is the same in a batch of 1, 7 or 256.
    """

    def __init__(self, seeds: Sequence[int], purpose: str):
        tag = zlib.crc32(purpose.encode())
        self.seeds = [int(seed) for seed in seeds]
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seed: {min(self.seeds)} found, allowed: 0 or more")
        self._generators = [np.random.Generator(np.random.Philox(key=[s, tag])) for s in self.seeds]

    def __len__(self) -> int:
        return len(self.seeds)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal values ``[n, *shape]``, float64."""
        shape = tuple(shape)
        return torch.from_numpy(
            np.stack([g.standard_normal(shape) for g in self._generators])
            if self._generators
            else np.empty((0, *shape))
        )

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform values in [0, 1), ``[n, *shape]``, float64."""
        shape = tuple(shape)
        return torch.from_numpy(
            np.stack([g.random(shape) for g in self._generators])
            if self._generators
            else np.empty((0, *shape))
        )

    def rademacher(self, shape: Sequence[int]) -> Tensor:
        """Values ±1 with equal probability, ``[n, *shape]``, float64."""
        return torch.where(self.uniform(shape) < 0.5, -1.0, 1.0).double()


def sample_seeds(seed: int, n: int) -> range:
    """The seeds of n samples: seed, seed + 1, …  Raises ValueError if n < 1 or seed < 0."""
    if n < 1:
        raise ValueError(f"n: {n} found, allowed: 1 or more")
    if seed < 0:
        raise ValueError(f"seed: {seed} found, allowed: 0 or more")
    return range(seed, seed + n)
