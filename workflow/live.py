"""Build the live page: the bundled Fashion-MNIST network in the visitor's own browser.

    python workflow/live.py site/live

Needs onnx and onnxscript (the extra *live*) and npm, which brings ONNX Runtime Web by its version;
the archive's SHA-256 is checked.  Then ``python -m http.server --directory site/live`` serves it.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from string import Template

import numpy as np
import torch
from scipy import stats

from cartoonists import load_model, ode_log_density
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.blur import noised_image
from cartoonists.experiments.tables import table_arrays
from cartoonists.files.artifacts import atomic, write_arrays, write_json
from cartoonists.files.resources import file_sha256
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import ImageModel
from cartoonists.report.explorer import web_file

NAME, DATA = "fashion-mnist/likelihood", "fashion-mnist"
RUNTIME = "onnxruntime-web@1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
SCRIPTS = ("random.js", "chain.js", "network.js", "live.js")
TABLE_SEEDS = range(1_000_000, 1_000_032)  # none that a visitor is likely to try first
SCORE_STEPS, REAL = 32, 8


def main(folder: Path) -> None:
    """Write the page and all that it loads into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(NAME, device="cpu")
    fetch_runtime(folder)
    export_network(model, folder / "network.onnx")
    table = posterior_arrays(model)
    write_arrays(folder / "stein.npz", table, {})
    write_json(folder / "card.json", card(model, table))
    page = Template(web_file("live.html")).substitute(
        style=web_file("explorer.css"), script="\n".join(web_file(name) for name in SCRIPTS)
    )
    with atomic(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def fetch_runtime(folder: Path) -> None:
    """ONNX Runtime Web from npm's registry.  Exits where it is not the expected archive."""
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", "--pack-destination", place, RUNTIME]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(place).glob("*.tgz")
        if (found := file_sha256(archive)) != SHA256:
            sys.exit(f"{RUNTIME}: sha256 {found} found, allowed: {SHA256}")
        with tarfile.open(archive) as content:
            for name in FILES:
                source = content.extractfile(f"package/dist/{name}")
                assert source is not None  # the archive is known
                with source, atomic(folder / name) as temporary, temporary.open("wb") as stream:
                    shutil.copyfileobj(source, stream)


def export_network(model: ImageModel, path: Path) -> None:
    """The network ε(x, λ) as ONNX, for any number of samples."""
    batch = torch.export.Dim("n", min=1, max=64)
    program = torch.onnx.export(
        model.network.to(memory_format=torch.contiguous_format),
        (torch.zeros(2, *model.shape), torch.zeros(2)),
        dynamo=True,
        input_names=["x", "logsnr"],
        output_names=["eps"],
        dynamic_shapes=({0: batch}, {0: batch}),
        external_data=False,
    )
    assert program is not None  # dynamo=True gives one
    with atomic(path) as temporary:
        program.save(temporary)


def posterior_arrays(model: ImageModel) -> dict[str, np.ndarray]:
    """The arrays of the chain's posterior table, to four digits, so that the card stays small."""
    arrays = table_arrays(estimate_table(model, TABLE_SEEDS, points=31, pilot_steps=40))
    short = {name: np.round(arrays[name], 4) for name in ("logit_ratio", "log_gain")}
    return arrays | short


def card(model: ImageModel, table: dict[str, np.ndarray]) -> dict:
    """What the page knows of the model: its scaling and table, and real images' log-densities."""
    real = held_out_images(DATA, model.pixel_shape, REAL)
    x, seeds = noised_image(model, real, range(REAL)), range(REAL)
    found = ode_log_density(model, x, SCORE_STEPS, divergence="difference", seeds=seeds)
    density = found.log_density / model.dimensions
    (mean,), (std,) = model.scaling.mean, model.scaling.std
    return {
        "name": NAME,
        "parameters": sum(values.numel() for values in model.network.parameters()),
        "shape": list(model.shape),
        "mean": mean,
        "std": std,
        "median_norm": float(stats.chi(model.dimensions).median()),
        "score_steps": SCORE_STEPS,
        "real": real[0].ravel().tolist(),
        "real_log_density": [density.min().item(), density.max().item()],
        "table": {
            "logsnr": table["logsnr"].tolist(),
            "logit_ratio": as_lists(table["logit_ratio"].reshape(len(table["logsnr"]), -1)),
            "level_range": table["level_range"].tolist(),
            "log_gain": as_lists(table["log_gain"]),
        },
    }


def as_lists(values: np.ndarray) -> list:
    """The same four digits as in the array, without those that float32 adds."""
    return np.round(values.astype(float), 4).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
