"""Expected time and memory of config/paper.yaml, from a throughput measured on this machine.

    python benchmarks/paper_settings.py > docs/paper_settings.md

Each network is built without weights (PyTorch's meta device) from its published architecture; its
floating-point operations, parameters and stored activations are counted, not estimated.  Time is
operations over the rate at which a bundled network's operations were done on one core here.
"""

import math
import time
from pathlib import Path

import diffusers
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from cartoonists import load_model

CLONE = Path(__file__).resolve().parents[1]
GPU_RATE = 50e12  # operations a second: assumed, not measured; an A100 peaks at 312e12 (fp16)
CARTOON = {"act_fn": "silu", "norm_eps": 1e-6}


def repeated(block: str, attention: str, levels: int, where: int) -> tuple[str, ...]:
    return tuple(attention if i == where else block for i in range(levels))


def ddpm(size: int, widths: tuple[int, ...], where: int) -> diffusers.UNet2DModel:
    levels = len(widths)
    return diffusers.UNet2DModel(
        sample_size=size, block_out_channels=widths, layers_per_block=2, attention_head_dim=None,
        down_block_types=repeated("DownBlock2D", "AttnDownBlock2D", levels, where),
        up_block_types=repeated("UpBlock2D", "AttnUpBlock2D", levels, levels - 1 - where),
        **CARTOON,
    )  # fmt: skip


def ncsnpp() -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(
        sample_size=256, block_out_channels=(128, 128, 256, 256, 256, 256, 256),
        layers_per_block=2, attention_head_dim=None, norm_num_groups=None,
        time_embedding_type="fourier", center_input_sample=True, mid_block_scale_factor=2**0.5,
        down_block_types=repeated("SkipDownBlock2D", "AttnSkipDownBlock2D", 7, 4),
        up_block_types=repeated("SkipUpBlock2D", "AttnSkipUpBlock2D", 7, 2), **CARTOON,
    )  # fmt: skip


def adm() -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(
        sample_size=64, block_out_channels=(192, 384, 576, 768), layers_per_block=3,
        attention_head_dim=64, num_class_embeds=1000, resnet_time_scale_shift="scale_shift",
        downsample_type="resnet", upsample_type="resnet",
        down_block_types=("ResnetDownsampleBlock2D", *("AttnDownBlock2D",) * 3),
        up_block_types=(*("AttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
    )  # fmt: skip


def stable_diffusion() -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=96, in_channels=4, out_channels=4, cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
    )  # fmt: skip


MODELS = {  # name: (builder, published megabytes of float32 weights, passes an evaluation, remark)
    "cifar10/ddpm": (lambda: ddpm(32, (128, 256, 256, 256), 1), 143, 1, "not run: no network here"),
    "imagenet-64/edm": (adm, 1180, 1, "not run: no network here; one class, guidance off"),
    "ffhq-256/ncsnpp": (ncsnpp, 263, 1, "not run: published as a pickle, to be converted first"),
    "church-256/ddpm": (
        lambda: ddpm(256, (128, 128, 256, 256, 512, 512), 4), 455, 1,
        "not run: published as a pickle, to be converted first",
    ),
    "text/sd-2.1": (
        stable_diffusion, 3460, 2,
        "not run: no network here; a mirror, for the original was withdrawn; its commit is the one "
        "that public projects pin",
    ),
}  # fmt: skip


def counted(builder) -> dict[str, float]:
    """Operations, parameters and bytes of kept activations for one sample."""
    kept = 0

    def keep(module, inputs, output):
        nonlocal kept
        if isinstance(output, torch.Tensor) and not list(module.children()):
            kept += output.numel() * 4

    with torch.device("meta"):
        network = builder().eval().requires_grad_(False)
        size, channels = network.config.sample_size, network.config.in_channels
        x, more = torch.empty(1, channels, size, size), {}
        if network.config.get("cross_attention_dim"):
            more["encoder_hidden_states"] = torch.empty(1, 77, network.config.cross_attention_dim)
        elif network.config.get("num_class_embeds"):
            more["class_labels"] = torch.zeros(1, dtype=torch.long)
        for module in network.modules():
            module.register_forward_hook(keep)
        counter = FlopCounterMode(display=False)
        with counter:
            network(x, torch.zeros(1), **more)
    parameters = sum(p.numel() for p in network.parameters())
    return {"flops": counter.get_total_flops(), "parameters": parameters, "kept": kept}


def measured_rate(repeats: int = 5) -> tuple[float, float, float]:
    """Operations a second of processor time of a bundled network, and its two costs in seconds."""
    torch.set_num_threads(1)
    model = load_model("fashion-mnist/likelihood", device="cpu")
    x = torch.randn(16, *model.shape, dtype=torch.float64)
    counter = FlopCounterMode(display=False)
    with counter:
        model.score(x, 0.0)

    def cost(action) -> float:
        times = []
        for _ in range(repeats):
            start = time.process_time()
            action()
            times.append(time.process_time() - start)
        return min(times)

    plain = cost(lambda: model.score(x, 0.0))
    derived = cost(lambda: model.score_and_hvp(x, 0.0, x))
    return counter.get_total_flops() / plain, plain / 16, derived / 16


def evaluations(settings: dict, derivative: float) -> float:
    """Passes of the network a sample for the topic *likelihood*, derivatives counted in passes.

    Adams evaluates at every point of the grid; step halving, there, at every second one again.
    """
    e = settings["estimators"]
    sampled = 2 * e["sde_steps"]  # two trackers
    fine, halved = e["ode_steps"] + 1, math.ceil(e["ode_steps"] / 2) + 1
    flow = (3 * fine + 2 * halved) * derivative * e["probes"]  # two there, one back
    return sampled + flow + 2 * e["bound_steps"] * e["paths"]


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds < 360_000 else f"{seconds / 86400:,.0f} days"


def main() -> None:
    config = yaml.safe_load((CLONE / "config.yaml").read_text())
    paper = yaml.safe_load((CLONE / "config" / "paper.yaml").read_text())
    settings = {**config["likelihood"], **paper["likelihood"]}
    rate, plain, derived = measured_rate()
    passes = evaluations(settings, derived / plain)
    n = settings["n_samples"]
    print(f"""# The paper's settings: what they cost, and what was run

Made by `benchmarks/paper_settings.py`; change that, not this page.

**None of these models was run.** No machine with their weights and a GPU could be had. What is
checked: every format loads tiny random networks of the same classes through the same files, and
`snakemake -n --configfile config/paper.yaml` builds its graph. The paper's numbers of samples are
not established here; {n} samples a model is our choice.

Measured on one processor core of this project's machine, in processor time: {rate / 1e9:,.0f}
billion operations a second in float32 ({plain * 1e3:.1f} ms a sample and evaluation of the bundled
Fashion-MNIST network, {derived / plain:.1f} times that with a vector-Jacobian product).
For the topic *likelihood* a sample takes {passes:,.0f} passes of a network.
The last column **assumes** {GPU_RATE / 1e12:.0f}e12 operations a second (half precision on a data-centre GPU);
no GPU could be had to measure it, so there is no table of throughputs by GPU either, and no larger
bundled models were trained.

| model | parameters (published file / 4) | operations a pass | weights | kept activations a sample with a derivative | {n} samples, one core | {n} samples, assumed GPU |
|---|---|---|---|---|---|---|""")  # fmt: skip  # noqa: E501
    for name, (builder, megabytes, share, _) in MODELS.items():
        c = counted(builder)
        work = c["flops"] * share * passes * n
        print(
            f"| {name} | {c['parameters'] / 1e6:,.1f} M ({megabytes / 4:,.1f} M) "
            f"| {c['flops'] / 1e9:,.0f}e9{' × 2 (guidance)' if share == 2 else ''} "
            f"| {c['parameters'] * 4 / 2**30:,.2f} GiB | {c['kept'] / 2**30:,.2f} GiB "
            f"| {hours(work / rate)} | {hours(work / GPU_RATE)} |"
        )
    print("""
Kept activations are the outputs of all layers in float32, an upper bound for what one derivative
pass holds; half of it in half precision. A batch takes that many times its size, which
`execution: {batch_size: auto}` finds by trial on a GPU.

| model | source | state |
|---|---|---|""")
    for name, (_, _, _, remark) in MODELS.items():
        print(f"| {name} | `{paper['models'][name]['source']}` | {remark} |")
    print("""
Only CIFAR-10 has a loader for its images and a classifier here. For the others name a folder of
images of the model's size (`data: path:<folder>`); without one, held-out bits/dim and the rows of
real images are left out, and without a classifier the topic *windows*. The two that were published
as pickles end in one line of the rule that fetches them, until they are converted. In the claims
table, rows of the paper's own models are *not comparable: not run* unless a run names them.""")


if __name__ == "__main__":
    main()
