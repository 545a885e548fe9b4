"""Networks of the user's own: functions that return score models, and the range of λ to use."""

import math
import sys

import pytest
import torch

from cartoonists import DiscreteVP, NetworkScore, ddpm_model, load_model, ode_log_density
from cartoonists.files.python_source import PythonSource, SourceError
from cartoonists.models.checkpoints import CheckpointError, ModelSpec, fetch_model
from cartoonists.paths.schedules import VE, VP, limited, prior_logsnr

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
GAUSSIAN = """
import torch
from cartoonists import ddpm_model
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
SIGNAL = torch.cumprod(1 - BETAS, 0)

class Exact(torch.nn.Module):
    def __init__(self, variance):
        super().__init__()
        self.variance = variance
    def forward(self, x, t):
        low = t.floor().long().clamp(max=998)
        logit = torch.logit(SIGNAL)
        signal = torch.sigmoid(torch.lerp(logit[low], logit[low + 1], t.double() - low))
        scale = (1 - signal).sqrt() / (signal * self.variance + 1 - signal)
        return (scale[:, None, None, None] * x).float()

def model(variance=0.3, weights=None):
    return ddpm_model(Exact(variance), BETAS, (1, 4, 4))

def number():
    return 3

def fails():
    raise KeyError("weights")

def wide():
    return ddpm_model(lambda x, t: torch.cat([x, x], 1), BETAS, (1, 4, 4))

def broken():
    return ddpm_model(lambda x, t: x * torch.nan, BETAS, (1, 4, 4))

alias = model
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(GAUSSIAN)
    return tmp_path / "own.py"


def test_the_log_density_is_that_of_the_network_that_the_function_returns(own):
    model = load_model(
        {"source": "python:own.py:model", "arguments": {"variance": 0.02}, "logsnr_range": [-9, 8]}
    )
    assert (model.schedule.logsnr_min, model.schedule.logsnr_max) == (-9.0, 8.0)
    variance = torch.sigmoid(torch.tensor(8.0)) * 0.02 + torch.sigmoid(torch.tensor(-8.0))
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * variance.sqrt()
    found = ode_log_density(model, x.double(), steps=200, solver="rk4").log_density
    exact = torch.distributions.Normal(0, variance.sqrt()).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(found, exact.double(), atol=0.01)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("python:none.py:model", "none.py found, allowed: an existing Python file"),
        ("python:no.such.module:model", "no.such.module found, allowed: an existing Python module"),
        (
            "python:own.py:modell",
            "'modell' of own.py found, allowed: what it defines, .*fails, model, number",
        ),
        ("python:own.py:Exact.x", "allowed: python:<file.py or module>:<function>"),
        ("python:own.py:BETAS", "own.py:BETAS found, allowed: a function"),
        ("python:own.py:number", "own.py:number returned int, allowed: a ScoreModel"),
        ("python:own.py:fails", r"raised KeyError: 'weights' \(own.py, line 25\)"),
        (
            "python:own.py:wide",
            r"output of shape \[2, 2, 4, 4\] found for x of shape \[2, 1, 4, 4\]",
        ),
        ("python:own.py:broken", "score at λ = -6.2126.* is not finite"),
        ("python:bad.py:model", "bad.py cannot be read"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(own, source, words):
    own.with_name("bad.py").write_text("def model(:\n")
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "python:own.py:model", "format": "edm"}, "allowed with source python: python"),
        (
            {"source": "path:x", "format": "python"},
            "allowed with source path: native, edm, diffusers",
        ),
        ({"source": "path:x", "arguments": {"a": 1}}, "arguments: found with format 'native'"),
        ({"source": "python:own.py:model", "logsnr_range": [3, 1]}, "allowed: two numbers, rising"),
        ({"source": "python:own.py:model", "logsnr_range": [-20, 1]}, "-10.1177 to 9.21024"),
        (
            {"source": "python:own.py:model", "arguments": {"widht": 1}},
            "unexpected keyword argument 'widht'$",
        ),
    ],
)
def test_wrong_settings_are_said_in_one_line(own, settings, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(settings)
    assert "\n" not in str(caught.value)


def test_a_record_notices_a_change_of_the_file_and_of_what_an_argument_names(own, tmp_path):
    from cartoonists.files.artifacts import write_json

    weights = own.with_name("weights.pt")
    weights.write_bytes(b"1")
    spec = ModelSpec.of({"source": "python:own.py:alias", "arguments": {"weights": "weights.pt"}})
    record = fetch_model(spec)
    assert list(record["files"]) == [str(own.resolve()), str(weights.resolve())]
    assert record["shape"] == [1, 4, 4] and record["logsnr_range"][0] == prior_logsnr()
    write_json(tmp_path / "model.json", record)
    assert load_model(tmp_path / "model.json").shape == (1, 4, 4)
    for file in (weights, own):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        with pytest.raises(CheckpointError, match=f"{file.name}: sha256 .* found"):
            load_model(tmp_path / "model.json")
        file.write_bytes(content)


def test_of_a_module_all_files_of_its_package_count(own, tmp_path, monkeypatch):
    package = tmp_path / "place" / "mine" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("raise RuntimeError('a plan runs nothing')\n")
    (package / "nets.py").write_text(GAUSSIAN)
    (package.parent / "helper.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "place"))
    source = PythonSource.of("python:mine.inner.nets:model")
    source.check()
    names = [p.relative_to(package.parent).as_posix() for p in source.files()]
    assert names == ["__init__.py", "helper.py", "inner/__init__.py", "inner/nets.py"]
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    sys.modules.pop("mine", None)
    assert load_model("python:mine.inner.nets:model").shape == (1, 4, 4)
    with pytest.raises(SourceError, match="mine.other found"):
        PythonSource.of("python:mine.other:model").path()


def test_a_function_may_return_a_score_model_of_any_shape(own):
    own.write_text(
        "import torch\nfrom cartoonists import Gaussian, VP\n"
        "def model():\n    return Gaussian(torch.zeros(2), 0.5, VP())\n"
    )
    assert load_model("python:own.py:model").log_prob(torch.zeros(1, 2)).shape == (1,)


def test_a_table_begins_where_its_prior_is_right_to_a_thousandth_of_a_nat():
    at = torch.arange(301, dtype=torch.float64) / 300
    signal = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
    cosine = DiscreteVP(torch.cumprod(1 - (1 - signal[1:] / signal[:-1]).clamp(max=0.9999), 0))
    assert cosine.logsnr_min < -19
    chosen = limited(cosine)
    alpha2 = float(chosen.alpha(chosen.logsnr_min) ** 2)
    # the exact prior term for data of unit power, of which α²/2 is the leading term
    assert 0.5 * (alpha2 + (1 - alpha2) - 1 - math.log1p(-alpha2)) == pytest.approx(1e-3, rel=2e-3)
    level = torch.tensor([0.3])
    assert torch.equal(chosen.timestep(level), cosine.timestep(level))
    assert limited(chosen, (-15.0, 2.0)).logsnr_min == -15.0  # within the table, not the default
    short = DiscreteVP(torch.tensor([0.999, 0.5, 0.1]))
    assert limited(short).logsnr_min == short.logsnr_min
    for schedule in (VP(-10.0, 10.0), VE(-8.0, 8.0)):
        assert limited(schedule) is schedule
        assert limited(schedule, (-3.0, 3.0)) == type(schedule)(-3.0, 3.0)
        with pytest.raises(ValueError, match="logsnr_range: .* own range of λ"):
            limited(schedule, (-11.0, 3.0))


def test_a_range_serves_every_format():
    model = load_model(
        {"source": "bundled", "name": "fashion-mnist/quality", "logsnr_range": [-6, 5]}
    )
    assert model.schedule == VP(-6.0, 5.0) and isinstance(model, NetworkScore)
    again = load_model("fashion-mnist/quality")
    x = torch.zeros(1, *model.shape)
    assert torch.equal(model.score(x, 1.0), again.score(x, 1.0))


def test_ddpm_model_refuses_a_table_that_is_none():
    with pytest.raises(ValueError, match="alphas_cumprod"):
        ddpm_model(lambda x, t: x, torch.zeros(10), (1, 4, 4))
