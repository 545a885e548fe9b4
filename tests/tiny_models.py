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
