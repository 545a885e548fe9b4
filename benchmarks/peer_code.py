"""The own code of others on our networks: how each is called, and what it gives.

Their repositories are read from clones and run as they are; nothing of them is part of this
project.  Each adapter takes the folder of clones and a model, and returns a function of points at
logsnr_max ``[n, *shape]`` and a seed that gives log-densities ``[n]`` in nats, at logsnr_max.
"""

import importlib
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cartoonists.models.image_models import ImageModel

OFFICIAL_POINTS = 1024  # the number in the scripts of the paper's code


class Missing(Exception):
    """A peer's code, or what that code needs, is not there."""


class Counted(nn.Module):
    """A network that counts the samples of its evaluations and of its derivatives."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.reset()

    def reset(self) -> None:
        self.forwards = self.products = 0

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        self.forwards += len(x)
        output = self.network(x, logsnr)
        if output.requires_grad:
            output.register_hook(self._count_product)
        return output

    def _count_product(self, gradient: Tensor) -> None:
        self.products += len(gradient)


def own_module(folder: Path, clone: str, name: str, package: str | None = None):
    """A module of a clone, which is forgotten again: two peers both have a module `utils`.

    ``package`` is put in the place of a package whose own start imports more than is needed.
    Raises Missing.
    """
    place = (folder / clone).resolve()
    sys.path.insert(0, str(place))
    try:
        if package:
            sys.modules[package] = bare = types.ModuleType(package)
            bare.__path__ = [str(place / package)]
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(error) from None
    finally:
        sys.path.remove(str(place))
        for known, module in list(sys.modules.items()):
            if known == package or str(getattr(module, "__file__", None)).startswith(str(place)):
                del sys.modules[known]


def k_diffusion(folder: Path, model: ImageModel) -> Callable[[Tensor, int], Tensor]:
    """`log_likelihood` of crowsonkb/k-diffusion: adaptive steps in y = x/α, one probe kept."""
    sampling = own_module(folder, "k-diffusion", "k_diffusion.sampling", "k_diffusion")
    scale = float(model.schedule.alpha(model.schedule.logsnr_max))
    ends = model.schedule.logsnr_max, model.schedule.logsnr_min

    def denoised(y: Tensor, sigma: Tensor) -> Tensor:
        logsnr = -2 * sigma.log()
        x = torch.sigmoid(logsnr).sqrt().view(-1, 1, 1, 1) * y
        return y - sigma.view(-1, 1, 1, 1) * model.network(x, logsnr)

    def log_density(x: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        sigmas = [math.exp(-0.5 * logsnr) for logsnr in ends]
        found, _ = sampling.log_likelihood(denoised, x.float() / scale, *sigmas)
        return found - model.dimensions * math.log(scale)

    return log_density


def score_sde(folder: Path, model: ImageModel) -> Callable[[Tensor, int], Tensor]:
    """`get_likelihood_fn` of yang-song/score_sde_pytorch: scipy's RK45, one probe kept.

    Its VP-SDE has a linear β; β(1) and the first time are those where λ is the model's own.
    """
    likelihood = own_module(folder, "score_sde_pytorch", "likelihood")
    first = 0.1
    whole, least = (
        math.log1p(math.exp(-logsnr))  # ∫β dt = -log α²
        for logsnr in (model.schedule.logsnr_min, model.schedule.logsnr_max)
    )
    slope = 2 * (whole - first)
    sde = likelihood.mutils.sde_lib.VPSDE(first, first + slope)
    start = 2 * least / (first + math.sqrt(first**2 + 2 * slope * least))

    class Labelled(nn.Module):
        """ε by their label of a time, 999 t."""

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            t = labels / 999
            return model.network(x, -torch.expm1(first * t + 0.5 * slope * t**2).log())

    # bits/dim of grey levels are asked for by a scaler; this one makes their offset 0
    evaluate = likelihood.get_likelihood_fn(sde, lambda _: 7.0, eps=start)

    def log_density(x: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        bits, _, _ = evaluate(Labelled(), x.float())
        return -bits * math.log(2) * model.dimensions

    return log_density


def official(folder: Path, model: ImageModel) -> Callable[[Tensor, int], Tensor]:
    """`pf_ode_encoder_with_logp` of rafalkarczewski/diffusion-density, in JAX, on our network.

    JAX calls the network in PyTorch.  It asks for J v and uses vᵀJ v alone, which vᵀJ gives too.
    """
    sampling = own_module(folder, "diffusion-density", "sampling")
    utils = own_module(folder, "diffusion-density", "utils")
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # or a callback waits for itself
    schedule = model.schedule

    def on_host(x, logsnr, v=None):
        torch.set_num_threads(1)  # of the thread that calls
        level = torch.tensor(logsnr).expand(len(x))
        with torch.set_grad_enabled(v is not None):
            at = torch.tensor(x).requires_grad_(v is not None)
            value = model.network(at, level)
            if v is None:
                return value.numpy()
            (product,) = torch.autograd.grad(value, at, torch.tensor(v))
        return value.detach().numpy(), product.numpy()

    @jax.custom_jvp
    def noise(x, logsnr):
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(on_host, like, x, logsnr, vectorized=True)

    @noise.defjvp
    def _(primals, tangents):
        like = jax.ShapeDtypeStruct(primals[0].shape, primals[0].dtype)
        given = (*primals, tangents[0])
        return jax.pure_callback(on_host, (like, like), *given, vectorized=True)

    def score(x, logsnr):
        return -noise(x, logsnr) / jax.numpy.sqrt(jax.nn.sigmoid(-logsnr))

    sde = utils.VPSDE(schedule.logsnr_min, schedule.logsnr_max, score)
    encode = jax.jit(
        jax.vmap(lambda x, key: sampling.pf_ode_encoder_with_logp(sde, x, OFFICIAL_POINTS, key))
    )

    def log_density(x: Tensor, seed: int) -> Tensor:
        keys = jax.random.split(jax.random.PRNGKey(seed), len(x))
        _, found = encode(x.float().numpy(), keys)
        return torch.tensor(jax.device_get(found))

    return log_density


def flow_matching(folder: Path, model: ImageModel) -> Callable[[Tensor, int], Tensor]:
    """`compute_likelihood` of facebookresearch/flow_matching: 64 midpoint steps, one probe kept.

    Their time is 0 at the noise and must end at 1; it is stretched over the model's own range.
    Their adaptive steps end in "underflow in dt" here, in float32, the one type they take.
    """
    solver = own_module(folder, "flow_matching", "flow_matching.solver")
    schedule = model.schedule
    begin, end = (
        float(schedule.alpha(logsnr)) for logsnr in (schedule.logsnr_min, schedule.logsnr_max)
    )

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        logsnr = 2 * torch.logit(begin + (end - begin) * t).expand(len(x))
        return -(end - begin) * model.network(x, logsnr)

    flow = solver.ODESolver(velocity)

    def log_density(x: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        _, found = flow.compute_likelihood(
            x.float(), model.prior_log_prob, method="midpoint", step_size=1 / 64
        )
        return found

    return log_density


def diffusers_chain(model: ImageModel, n: int, steps: int, seed: int) -> Tensor:
    """Samples by diffusers' `DDPMScheduler` in the loop that its documentation shows."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *model.shape, generator=generator)
    with torch.no_grad():
        for t in scheduler.timesteps:
            logsnr = torch.logit(scheduler.alphas_cumprod[t]).clamp(-10, 10).expand(n)
            x = scheduler.step(model.network(x, logsnr), t, x, generator=generator).prev_sample
    return x


PEERS = {  # name: (head of the networks that it knows, adapter)
    "k-diffusion, log_likelihood": ("eps", k_diffusion),
    "score_sde_pytorch, get_likelihood_fn": ("eps", score_sde),
    "official code, pf_ode_encoder_with_logp": ("eps", official),
    "flow_matching, compute_likelihood": ("velocity", flow_matching),
}
