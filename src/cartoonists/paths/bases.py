"""Orthonormal bases of image space: pixels, the cosine transform, or the columns of a matrix."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Basis(ABC):
    """An orthonormal change of coordinates; shapes ``[batch, *shape]`` on both sides."""

    name: str

    @abstractmethod
    def coordinates(self, x: Tensor) -> Tensor:
        """Bᵀx."""

    @abstractmethod
    def vector(self, z: Tensor) -> Tensor:
        """B z, the inverse of ``coordinates``."""


class Pixels(Basis):
    """The standard basis."""

    name = "pixels"

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def vector(self, z: Tensor) -> Tensor:
        return z


class Cosine(Basis):
    """Orthonormal discrete cosine transform (DCT-II) over every axis of the sample.

    Over rows and columns it nearly diagonalises the covariance of stationary images; over three
    colour channels its first vector is grey and the other two are colour differences.
    """

    name = "dct"

    def __init__(self):
        self._matrices: dict[int, Tensor] = {}

    def _matrix(self, n: int) -> Tensor:
        if n not in self._matrices:
            k, i = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
            matrix = torch.cos(math.pi * k.double() * (2 * i + 1) / (2 * n)) * math.sqrt(2 / n)
            matrix[0] /= math.sqrt(2)
            self._matrices[n] = matrix
        return self._matrices[n]

    def _apply(self, x: Tensor, transpose: bool) -> Tensor:
        for axis in range(1, x.ndim):
            matrix = self._matrix(x.shape[axis]).to(x)
            matrix = matrix.T if transpose else matrix
            x = torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)
        return x

    def coordinates(self, x: Tensor) -> Tensor:
        return self._apply(x, transpose=False)

    def vector(self, z: Tensor) -> Tensor:
        return self._apply(z, transpose=True)


class Columns(Basis):
    """The columns of an orthonormal matrix ``[D, D]``, such as principal components."""

    name = "columns"

    def __init__(self, matrix: Tensor):
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        identity = torch.eye(matrix.shape[-1], dtype=torch.float64)
        if matrix.ndim != 2 or not torch.allclose(matrix.T @ matrix, identity, atol=1e-8):
            raise ValueError("basis: expected a matrix with orthonormal columns")
        self.matrix = matrix

    def coordinates(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.to(x)).view_as(x)

    def vector(self, z: Tensor) -> Tensor:
        return (z.flatten(1) @ self.matrix.to(z).T).view_as(z)

    @staticmethod
    def principal(samples: Tensor) -> "Columns":
        """Eigenvectors of the covariance of samples ``[n, *shape]``, completed to a full basis."""
        centred = (samples - samples.mean(0)).flatten(1).double()
        return Columns(torch.linalg.eigh(centred.T @ centred / len(samples)).eigenvectors)


NAMED_BASES = {"pixels": Pixels, "dct": Cosine}


def basis_named(name: str) -> Basis:
    """A basis without parameters by its name.  Raises ValueError for an unknown name."""
    if name not in NAMED_BASES:
        raise ValueError(f"basis: {name!r} found, allowed: {', '.join(NAMED_BASES)}")
    return NAMED_BASES[name]()
