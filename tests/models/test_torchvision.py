"""A user need not know of torchvision: beside a CPU build of PyTorch, or where it is absent."""

import os
import subprocess
import sys
from pathlib import Path

import torch

LIBRARY = Path(__file__).resolve().parents[2] / "src"
PACKAGES = Path(torch.__file__).parents[1]


def run(code: str, path: Path | None = None) -> str:
    """Output of a fresh interpreter, with no packages but those of ``path`` where one is given."""
    folders = [str(LIBRARY), *([str(path)] if path else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, *(["-S"] if path else []), "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_diffusers_is_imported_by_a_users_own_code():
    code = "import cartoonists; from diffusers import UNet2DModel; import torchvision; print(1)"
    assert run(code) == "1"


def test_a_diffusers_folder_needs_no_torchvision(tmp_path):
    """All packages of this environment but torchvision and what needs it."""
    for entry in PACKAGES.iterdir():
        if not entry.name.startswith(("torchvision", "cartoonists", "__editable__")):
            (tmp_path / entry.name).symlink_to(entry)
    code = f"""
import sys
sys.path.append({str(Path(__file__).resolve().parents[1])!r})
import tiny_models, pathlib
from cartoonists import load_model
tiny_models.save_diffusers(pathlib.Path({str(tmp_path / "model")!r}))
model = load_model({str(tmp_path / "model")!r})
try:
    import torchvision
except ModuleNotFoundError:
    print(model.shape)
from cartoonists.experiments.frechet import _clean_fid
try:
    _clean_fid("inception_pytorch")
except ModuleNotFoundError as error:
    print(error)
"""
    (tmp_path / "model").mkdir()
    said = run(code, tmp_path).splitlines()
    assert said[0] == "(3, 8, 8)"
    assert said[1].startswith("torchvision: not installed, needed for Fréchet distances")
