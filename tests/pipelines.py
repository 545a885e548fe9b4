"""Real diffusers pipelines whose network is the exact one of a Gaussian or a mixture.

Everything around the network is real and tiny: autoencoders and text encoders with random weights,
a tokenizer of whole words.
"""

from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from cartoonists import GaussianMixture  # isort: skip  (makes torchvision importable)
import diffusers
import transformers

WORDS = 8  # of a prompt
SIZE = 8  # of a side of latents, and of images without an autoencoder


def denoise(target, x, alpha, sigma):
    """E[x_0 | α x_0 + σ ε] in float64 of a mixture's ``weights, means, _variances``."""
    z, means, data = x.double().flatten(1), target.means.flatten(1), target._variances
    variance = alpha**2 * data + sigma**2
    apart = z[:, None] - alpha * means
    logits = target.weights.log() - 0.5 * (apart**2 / variance + variance.log()).sum(2)
    gains = means + alpha * data / variance * apart
    return torch.einsum("nk,nkd->nd", logits.softmax(1), gains).view_as(x)


class Exact(torch.nn.Module):
    """ε, v, x_0, velocity or EDM output of ``targets``: one, or (without, with prompt)."""

    def __init__(self, targets, scheduler, config, packed=False, divisor=1.0, learned=False):
        super().__init__()
        self.targets = targets if isinstance(targets, tuple) else (targets,)
        self.scheduler, self.config = scheduler, SimpleNamespace(**config)
        self.divisor, self.learned = divisor, learned
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.add_embedding = SimpleNamespace(linear_1=SimpleNamespace(in_features=6 * 6 + 8))
        self.calls = 0

    @property
    def dtype(self):
        return self.anchor.dtype

    @property
    def device(self):
        return self.anchor.device

    def cache_context(self, name):
        return torch.no_grad()

    def level(self, timestep):
        """α, σ and the head at a timestep."""
        config = self.scheduler.config
        if "sigma_data" in config:
            return 1.0, torch.exp(4 * timestep.double()), "edm"
        if "beta_start" in config:
            signal = self.scheduler.alphas_cumprod.double()[timestep.long()]
            return signal.sqrt(), (1 - signal).sqrt(), config["prediction_type"]
        time = timestep.double() / self.divisor
        return 1 - time, time, "velocity"

    def output(self, target, x, timestep):
        alpha, sigma, head = self.level(timestep)
        x = x.double()
        if head == "edm":
            data = self.scheduler.config["sigma_data"]
            root = (sigma**2 + data**2).sqrt()
            x = x * root
            skip = data**2 / root**2 * x
            return (denoise(target, x, alpha, sigma) - skip) * root / (sigma * data)
        clean = denoise(target, x, alpha, sigma)
        noise = (x - alpha * clean) / sigma
        return {
            "epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean,
            "velocity": noise - clean,
        }[head]  # fmt: skip

    def parts(self, x, labels):
        """Targets with their rows; of DiT the second half is without label, else the first."""
        targets = self.targets
        halves = x.chunk(len(targets))
        return zip(reversed(targets) if labels is not None else targets, halves, strict=True)

    def forward(
        self, sample=None, timestep=None, *args, hidden_states=None, class_labels=None,
        return_dict=True, **kwargs,
    ):  # fmt: skip
        self.calls += 1
        x = hidden_states if sample is None else sample
        time = torch.as_tensor(timestep).flatten()[0]
        outputs = [self.output(target, part, time) for target, part in self.parts(x, class_labels)]
        output = torch.cat(outputs).to(x)
        if self.learned:
            output = torch.cat([output, torch.zeros_like(output)], dim=1)
        return SimpleNamespace(sample=output) if return_dict else (output,)


def tiny_autoencoder(channels=4, shift=None):
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, sample_size=SIZE,
        norm_num_groups=4, block_out_channels=(8, 8), layers_per_block=1, scaling_factor=0.5,
        shift_factor=shift, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip


def tiny_tokenizer():
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "cat": 3}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<pad>",
        model_max_length=WORDS,
    )  # fmt: skip


def tiny_clip(projected=False):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=WORDS, projection_dim=8, eos_token_id=0,
        bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def tiny_t5():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=8, d_model=16, d_kv=8, d_ff=8, num_layers=1, num_heads=1
    )
    return transformers.T5EncoderModel(config).eval()


UNET = {"in_channels": 4, "sample_size": SIZE, "time_cond_proj_dim": None}
FLOW = diffusers.FlowMatchEulerDiscreteScheduler
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def ddpm(targets, scheduler=None):
    scheduler = scheduler or diffusers.DDPMScheduler(clip_sample=False)
    unet = Exact(targets, scheduler, {"in_channels": 3, "sample_size": SIZE})
    return quiet(diffusers.DDPMPipeline(unet, scheduler))


def stable_diffusion(targets, scheduler=None):
    scheduler = scheduler or diffusers.PNDMScheduler(**STABLE, steps_offset=1, skip_prk_steps=True)
    pipe = diffusers.StableDiffusionPipeline(
        tiny_autoencoder(), tiny_clip(), tiny_tokenizer(), Exact(targets, scheduler, UNET),
        scheduler, None, None, requires_safety_checker=False,
    )  # fmt: skip
    return quiet(pipe)


def stable_diffusion_xl(targets, scheduler=None):
    scheduler = scheduler or diffusers.EulerDiscreteScheduler(
        **STABLE, steps_offset=1, timestep_spacing="leading"
    )
    unet = Exact(targets, scheduler, UNET | {"addition_time_embed_dim": 6})
    pipe = diffusers.StableDiffusionXLPipeline(
        tiny_autoencoder(), tiny_clip(), tiny_clip(projected=True), tiny_tokenizer(),
        tiny_tokenizer(), unet, scheduler, add_watermarker=False,
    )  # fmt: skip
    return quiet(pipe)


def dit(targets, scheduler=None):
    scheduler = scheduler or diffusers.DDIMScheduler(clip_sample=False)
    transformer = Exact(targets, scheduler, UNET | {"out_channels": 8}, learned=True)
    return quiet(diffusers.DiTPipeline(transformer, tiny_autoencoder(), scheduler))


def pixart(targets, scheduler=None, kind="Sigma"):
    scheduler = scheduler or diffusers.DPMSolverMultistepScheduler()
    transformer = Exact(targets, scheduler, UNET | {"out_channels": 8}, learned=True)
    pipe = getattr(diffusers, f"PixArt{kind}Pipeline")(
        tiny_tokenizer(), tiny_t5(), tiny_autoencoder(), transformer, scheduler
    )
    return quiet(pipe)


def stable_diffusion_3(targets, scheduler=None):
    scheduler = scheduler or FLOW(shift=3.0)
    config = UNET | {"patch_size": 2, "joint_attention_dim": 16}
    transformer = Exact(targets, scheduler, config, divisor=1000.0)
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer, scheduler, tiny_autoencoder(shift=0.1), tiny_clip(projected=True),
        tiny_tokenizer(), tiny_clip(projected=True), tiny_tokenizer(), tiny_t5(), tiny_tokenizer(),
    )  # fmt: skip
    return quiet(pipe)


def flux(targets, scheduler=None):
    scheduler = scheduler or FLOW(shift=3.0, use_dynamic_shifting=True)
    config = {"in_channels": 16, "guidance_embeds": True, "patch_size": 1}
    pipe = diffusers.FluxPipeline(
        scheduler, tiny_autoencoder(shift=0.1), tiny_clip(), tiny_tokenizer(), tiny_t5(),
        tiny_tokenizer(), Exact(targets, scheduler, config),
    )  # fmt: skip
    return quiet(pipe)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def gaussian(mean, variance, dimensions):
    """One isotropic Gaussian, as a mixture of flat vectors (the schedule is not used)."""
    from cartoonists import VP

    means = torch.full((1, dimensions), float(mean), dtype=torch.float64)
    return GaussianMixture([1.0], means, [variance], VP())
