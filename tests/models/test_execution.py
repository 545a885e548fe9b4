"""Device, precision and batch size: what they change, and by how much on a closed form."""

import sys
from pathlib import Path

import pytest
import torch

from cartoonists import track_reverse_sde
from cartoonists.models.execution import Execution, largest_batch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from precision import closed_form_error, gaussian_model  # noqa: E402  (after the path above)

SHAPE = (1, 8, 8)


def errors(**settings):
    return closed_form_error(SHAPE, **settings)


def exact_model(**settings):
    return gaussian_model(SHAPE, **settings)


def test_reduced_precision_costs_little_and_more_the_coarser_it_is():
    """D = 64; Hutchinson is exact for a multiple of the identity, so only rounding is left."""
    full, single = errors(), errors(state="float32")
    half, brain = errors(precision="fp16"), errors(precision="bf16")
    assert full < 1e-3 and single < 5e-3
    assert full < half < brain < 1.0


def test_float32_state_stays_float32_through_every_path():
    model = exact_model(state="float32")
    run = track_reverse_sde(model, n=2, steps=4, covariance="none")
    assert run.x.dtype == torch.float32 and run.log_density.dtype == torch.float64
    euler = track_reverse_sde(model, n=2, steps=4, method="euler-maruyama")
    assert euler.x.dtype == torch.float32 and euler.log_density.dtype == torch.float64
    wide = track_reverse_sde(exact_model(), n=2, steps=4, covariance="none")
    torch.testing.assert_close(run.x.double(), wide.x, rtol=1e-4, atol=1e-4)


def test_batch_size_is_the_largest_that_fits():
    tried = []

    def trial(n):
        tried.append(n)
        if n > 24:
            raise torch.OutOfMemoryError

    assert largest_batch(trial, 1024) == 16 and tried == [1, 2, 4, 8, 16, 32]
    assert largest_batch(lambda n: None, 8) == 8
    with pytest.raises(ValueError, match="not even one sample"):
        largest_batch(lambda n: trial(99), 8)


def test_auto_settings():
    model = exact_model(device="auto", batch_size="auto")
    assert model.device.type in ("cpu", "cuda") and model.batch_size >= 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "int8"}, "precision: 'int8' found, allowed: fp32, bf16, fp16"),
        ({"state": "float16"}, "state: 'float16' found, allowed: float64, float32"),
        ({"batch_size": 0}, "batch_size: 0 found"),
        ({"device": "gpu"}, "device: 'gpu' found, allowed: auto, cpu, cuda"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Execution(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="PyTorch sees no GPU"):
        Execution(device="cuda")


def test_compiled_network_is_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda net, **options: calls.append(options) or net)
    exact_model(compile=True)
    assert calls == [{"dynamic": False}]
