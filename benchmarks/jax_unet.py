"""diffusers' UNet2DModel in JAX, from the same weights: the other side of `official_size.py`.

    python benchmarks/jax_unet.py FILE

Run by `official_size.py` in an environment of its own that has JAX; nothing else imports it.
FILE (npz) holds ``input``, ``output`` and ``probe`` ``[n, c, h, w]``, ``timestep`` ``[n]`` and the
weights, ``network.…``.  Prints the version of JAX and how far its output is off, then answers each
name of an evaluation (``EVALUATIONS``) that it reads by the processor seconds it has taken so far.
"""

import math
import os
import sys
import time

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before JAX counts the cores
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

GROUPS = 16
LAYERS = 2  # residual blocks a resolution on the way down, one more on the way up
WITH_ATTENTION = (1,)  # resolutions, counted from the finest
RESOLUTIONS = 4
EPSILON = 1e-5  # of the norms


def weights_of(file) -> dict[str, jax.Array]:
    """Kernels as JAX lays them out: ``[h, w, in, out]`` and ``[in, out]``."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return {
        name.removeprefix("network."): jnp.asarray(file[name].transpose(axes[file[name].ndim]))
        for name in file.files
        if name.startswith("network.")
    }


def convolve(w, name, h, stride=1):
    kernel = w[f"{name}.weight"]
    padding = [((size - 1) // 2,) * 2 for size in kernel.shape[:2]]
    order = ("NHWC", "HWIO", "NHWC")
    moved = jax.lax.conv_general_dilated(h, kernel, (stride, stride), padding, None, None, order)
    return moved + w[f"{name}.bias"]


def linear(w, name, h):
    return h @ w[f"{name}.weight"] + w[f"{name}.bias"]


def normalise(w, name, h):
    grouped = h.reshape(len(h), -1, GROUPS, h.shape[-1] // GROUPS)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred**2).mean((1, 3), keepdims=True) + EPSILON)
    return scaled.reshape(h.shape) * w[f"{name}.weight"] + w[f"{name}.bias"]


def residual(w, name, h, time_features):
    inner = convolve(w, f"{name}.conv1", jax.nn.silu(normalise(w, f"{name}.norm1", h)))
    inner += linear(w, f"{name}.time_emb_proj", jax.nn.silu(time_features))[:, None, None, :]
    inner = convolve(w, f"{name}.conv2", jax.nn.silu(normalise(w, f"{name}.norm2", inner)))
    shortcut = f"{name}.conv_shortcut"
    return inner + (convolve(w, shortcut, h) if f"{shortcut}.weight" in w else h)


def attend(w, name, h):
    rows = normalise(w, f"{name}.group_norm", h).reshape(len(h), -1, h.shape[-1])
    query, key, value = (linear(w, f"{name}.to_{part}", rows) for part in "qkv")
    weight = jax.nn.softmax(query @ key.transpose(0, 2, 1) / math.sqrt(h.shape[-1]), axis=-1)
    return h + linear(w, f"{name}.to_out.0", weight @ value).reshape(h.shape)


def embed(w, timestep):
    half = w["time_embedding.linear_1.weight"].shape[0] // 2
    angle = timestep[:, None] * jnp.exp(-math.log(10_000) * jnp.arange(half) / half)
    waves = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return linear(
        w, "time_embedding.linear_2", jax.nn.silu(linear(w, "time_embedding.linear_1", waves))
    )


def block(w, name, h, time_features, layer, attention):
    h = residual(w, f"{name}.resnets.{layer}", h, time_features)
    return attend(w, f"{name}.attentions.{layer}", h) if attention else h


def unet(w, x, timestep):
    """The network, ``[n, h, w, c]`` in and out."""
    time_features = embed(w, timestep)
    h = convolve(w, "conv_in", x)
    skips = [h]
    for level in range(RESOLUTIONS):
        name = f"down_blocks.{level}"
        for layer in range(LAYERS):
            h = block(w, name, h, time_features, layer, level in WITH_ATTENTION)
            skips.append(h)
        if level < RESOLUTIONS - 1:
            h = convolve(w, f"{name}.downsamplers.0.conv", h, stride=2)
            skips.append(h)
    h = block(w, "mid_block", h, time_features, 0, attention=True)
    h = residual(w, "mid_block.resnets.1", h, time_features)
    for level in reversed(range(RESOLUTIONS)):
        name = f"up_blocks.{RESOLUTIONS - 1 - level}"
        for layer in range(LAYERS + 1):
            h = jnp.concatenate([h, skips.pop()], axis=-1)
            h = block(w, name, h, time_features, layer, level in WITH_ATTENTION)
        if level > 0:
            doubled = h.repeat(2, axis=1).repeat(2, axis=2)
            h = convolve(w, f"{name}.upsamplers.0.conv", doubled)
    return convolve(w, "conv_out", jax.nn.silu(normalise(w, "conv_norm_out", h)))


def forward_mode(w, x, timestep, probe):
    value, product = jax.jvp(lambda at: unet(w, at, timestep), (x,), (probe,))
    return value, (product * probe).sum((1, 2, 3))


def reverse_mode(w, x, timestep, probe):
    value, pull = jax.vjp(lambda at: unet(w, at, timestep), x)
    return value, (pull(probe)[0] * probe).sum((1, 2, 3))


EVALUATIONS = {
    "plain": lambda w, x, timestep, probe: unet(w, x, timestep),
    "forward": forward_mode,
    "reverse": reverse_mode,
}


def main() -> None:
    with np.load(sys.argv[1]) as file:
        weights, timestep = weights_of(file), jnp.asarray(file["timestep"])
        x, expected, probe = (
            jnp.asarray(file[name].transpose(0, 2, 3, 1)) for name in ("input", "output", "probe")
        )
    evaluations = {name: jax.jit(function) for name, function in EVALUATIONS.items()}
    found = evaluations["plain"](weights, x, timestep, probe)
    print(jax.__version__, float(abs(found - expected).max()), flush=True)
    for line in sys.stdin:
        jax.block_until_ready(evaluations[line.strip()](weights, x, timestep, probe))
        print(time.process_time(), flush=True)


if __name__ == "__main__":
    main()
