"""The U-Net of the bundled networks is diffusers' ``UNet2DModel``, without its import."""

import subprocess
import sys

import pytest
import torch
from diffusers import UNet2DModel

from cartoonists.models.small_unet import GROUPS, HEAD_DIM, SmallUNet


@pytest.mark.parametrize(
    ("channels", "widths", "layers"),
    [(32, (32, 96), 1), (48, (32, 64, 128), 1), (16, (8, 40), 2), (16, (64,), 1)],
)
def test_names_first_values_and_outputs_are_those_of_diffusers(channels, widths, layers):
    torch.manual_seed(0)
    theirs = UNet2DModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=layers,
        down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths),
        norm_num_groups=GROUPS,
        attention_head_dim=HEAD_DIM,
    ).eval()
    torch.manual_seed(0)
    ours = SmallUNet(channels, widths, layers, dropout=0.0).eval()
    expected, found = theirs.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    x, timestep = torch.randn(3, channels, 16, 16), torch.tensor([0.0, 333.3, 1000.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, timestep), theirs(x, timestep).sample, rtol=0, atol=1e-5)


def test_a_bundled_network_loads_without_diffusers():
    code = (
        "import sys; from cartoonists import load_model; load_model('fashion-mnist/likelihood');"
        "print({'diffusers', 'transformers', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
