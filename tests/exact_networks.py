"""Networks in real folders whose truth is known: images that are independent Gaussians.

A folder is written with diffusers' own classes and random weights; `worn` then puts the exact
network of N(MEAN, VARIANCE) data behind the class, in the parametrisation that the folder's
scheduler promises.  This is the one place where a class is patched.
"""

import math
from types import SimpleNamespace

import torch
from torch.nn import functional as F

MEAN, VARIANCES = 0.1, (0.02, 0.3, 0.5, 0.2)  # of each pixel; variances by channel


def statistics(shape, unit=1.0):
    """Mean and variance of every coordinate, ``[*shape]``, for data ``unit`` times as large."""
    variance = torch.tensor(VARIANCES, dtype=torch.float64)[: shape[0], None, None]
    mean = torch.full(shape, MEAN * unit, dtype=torch.float64)
    return mean, (variance * unit**2).expand(shape).clone()


def log_density(x, alpha, sigma2, unit=1.0):
    """log N(x; α MEAN, α² VARIANCE + σ²) summed over the coordinates: the truth, in nats."""
    mean, variance = statistics(tuple(x.shape[1:]), unit)
    marginal = torch.distributions.Normal(alpha * mean, (alpha**2 * variance + sigma2).sqrt())
    return marginal.log_prob(x).flatten(1).sum(1)


def _denoised(x, alpha, sigma2, unit):
    mean, variance = (part.to(x) for part in statistics(tuple(x.shape[1:]), unit))
    return mean + alpha * variance / (alpha**2 * variance + sigma2) * (x - alpha * mean)


def table_output(x, timestep, table, head, unit):
    """ε, x_0 or v of a network trained on a table of ᾱ_t, between steps linear in logSNR."""
    logsnr = torch.logit(table.double())
    below = timestep.floor().long().clamp(0, len(table) - 2)
    at = torch.lerp(logsnr[below], logsnr[below + 1], timestep - below)
    alpha, sigma2 = torch.sigmoid(at).sqrt(), torch.sigmoid(-at)
    clean = _denoised(x, alpha, sigma2, unit)
    eps = (x - alpha * clean) / sigma2.sqrt()
    v = alpha * eps - sigma2.sqrt() * clean
    return {"epsilon": eps, "sample": clean, "v_prediction": v}[head]


def edm_output(x, sigma, data, sign, unit):
    """F of D = c_skip y + c_out F(c_in y), with x = c_in y (Karras et al., 2022, table 1)."""
    total = sigma**2 + data**2
    y = x * total.sqrt()
    clean = _denoised(y, torch.ones_like(sigma), sigma**2, unit)
    return (clean - data**2 / total * y) / (sign * sigma * data / total.sqrt())


def score_output(x, sigma, unit):
    """The score under the variance-exploding schedule."""
    return (_denoised(x, torch.ones_like(sigma), sigma**2, unit) - x) / sigma**2


def velocity_output(x, time, unit):
    """ε - x_0 of a flow at time t, α = 1 - t and σ = t."""
    clean = _denoised(x, 1 - time, time**2, unit)
    return (x - clean) / time


def unpacked(tokens):
    """FLUX's tokens of a square of latents, one of 2×2 latents each, as latents."""
    n, length, width = tokens.shape
    side = math.isqrt(length)
    return F.fold(tokens.mT.reshape(n, width, length), (2 * side,) * 2, 2, stride=2)


def worn(output, extra=False, packs=False):
    """A ``forward`` for a diffusers class: ``output(x, time)`` in float64, time ``[n, 1, 1, 1]``.

    ``extra`` adds a second half of channels, as networks with a learned variance have it; ``packs``
    is of FLUX, whose input and output are tokens.
    """

    def forward(self, sample, timestep, *args, **kwargs):
        time = torch.as_tensor(timestep, dtype=torch.float64).expand(len(sample))
        x = unpacked(sample) if packs else sample
        values = output(x.double(), time.view(-1, 1, 1, 1)).to(sample)
        if packs:
            values = F.unfold(values, 2, stride=2).mT
        if extra:
            values = torch.cat([values, torch.full_like(values, 1e3)], dim=1)
        return SimpleNamespace(sample=values)

    return forward
