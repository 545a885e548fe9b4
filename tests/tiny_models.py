"""Tiny random networks saved in the real format of each kind of checkpoint."""

import diffusers
import torch
from safetensors.torch import save_file

UNET = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "block_out_channels": (8, 8),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}


def tiny_unet(**changes):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**{**UNET, **changes}).eval()


def save_diffusers(folder, unet=None, scheduler=None, flat=False):
    """A folder as published: a pipeline, or everything side by side."""
    unet, scheduler = unet or tiny_unet(), scheduler or diffusers.DDPMScheduler()
    unet.save_pretrained(folder if flat else folder / "unet", safe_serialization=True)
    scheduler.save_pretrained(folder if flat else folder / "scheduler")
    return unet, scheduler


TRANSFORMER = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1}
PATCHES = TRANSFORMER | {"in_channels": 4, "sample_size": 4, "patch_size": 2}
CROSS = {
    "sample_size": 4, "layers_per_block": 1, "block_out_channels": (8, 8), "norm_num_groups": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "attention_head_dim": 4,
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
NETWORKS = {  # of the pipelines of tests/pipelines.py: class and options
    "stable_diffusion": ("UNet2DConditionModel", CROSS | {"cross_attention_dim": 8}),
    "stable_diffusion_xl": ("UNet2DConditionModel", CROSS | {
        "cross_attention_dim": 16, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 6, "projection_class_embeddings_input_dim": 44}),
    "dit": ("DiTTransformer2DModel", PATCHES | {"out_channels": 8, "num_embeds_ada_norm": 5}),
    "pixart": ("PixArtTransformer2DModel", PATCHES | {
        "out_channels": 8, "cross_attention_dim": 16, "caption_channels": 16}),
    "stable_diffusion_3": ("SD3Transformer2DModel", PATCHES | {
        "out_channels": 4, "joint_attention_dim": 16, "caption_projection_dim": 16,
        "pooled_projection_dim": 16, "pos_embed_max_size": 4}),
    "flux": ("FluxTransformer2DModel", TRANSFORMER | {
        "in_channels": 16, "num_single_layers": 1, "joint_attention_dim": 16,
        "pooled_projection_dim": 8, "guidance_embeds": True, "axes_dims_rope": (2, 2, 4)}),
}  # fmt: skip


def save_pipeline(folder, kind, scheduler=None):
    """A whole pipeline of `tests/pipelines.py` with a random network, as published."""
    import pipelines

    pipe = getattr(pipelines, kind)(None, scheduler)
    name, options = NETWORKS[kind]
    torch.manual_seed(0)
    part = "unet" if name.startswith("UNet") else "transformer"
    setattr(pipe, part, getattr(diffusers, name)(**options).eval())
    pipe.save_pretrained(folder)
    return pipe


def save_latent(folder):
    """A Stable Diffusion pipeline without its text encoder, and embeddings of two prompts."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=6, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip
    autoencoder = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=8, norm_num_groups=4,
        block_out_channels=(8, 8), layers_per_block=1, scaling_factor=0.5,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction",
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    autoencoder.save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    embeddings = folder / "prompts.safetensors"
    save_file({"prompt": torch.randn(5, 6), "empty": torch.randn(5, 6)}, embeddings)
    return unet, autoencoder, scheduler, embeddings
