"""The command ``cartoonists``: options, exit codes, and what is said on which stream."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cartoonists.commands.runs import Run

REFUSED, INTERRUPTED = 1, 130  # exit codes; 2, wrong usage, is Typer's

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A bundled model (fashion-mnist/likelihood), the path of a .safetensors file or of a "
        "diffusers folder, or python:<file>:<function>.",
    ),
]
TrainingPlace = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="A folder of pictures, an .npz, .npy or IDX file, or a data set by its name "
        "(fashion-mnist).",
    ),
]
Kind = Annotated[str, typer.Option(help="VP, a diffusion model, or RectifiedFlow, a flow.")]
Weighting = Annotated[
    str | None,
    typer.Option(
        help="Of the loss: likelihood (default) or quality with VP, uniform (default) or "
        "logit-normal with RectifiedFlow."
    ),
]
Start = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Start from a model trained here, of its size and colour."),
]
Steps = Annotated[int, typer.Option(min=4, help="Steps of the solver.")]
Probes = Annotated[int, typer.Option(min=1, help="Probes of Hutchinson's estimate a step.")]
Seed = Annotated[int, typer.Option(min=0, help="First seed.")]
Batch = Annotated[int, typer.Option(min=1, help="Images a batch; each batch is stored when done.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")]
Precision = Annotated[str, typer.Option(help="Of the network: fp32, bf16 or fp16.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")]


def _version(wanted: bool) -> None:
    if wanted:
        from cartoonists.files.artifacts import revision

        typer.echo(f"cartoonists {revision()}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Log-densities of images under diffusion models, and samples of a chosen log-density.

    Tables go to standard output or to files, progress and refusals to standard error. Exit codes:
    0 done, 1 refused or a row without a number, 2 wrong usage, 130 interrupted.
    """


@app.command()
def score(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Picture files, folders of them, .npy or .npz files, or a bundled data set "
            "(fashion-mnist).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="CSV file; an interrupted run goes on from it."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of each place.")] = None,
    steps: Steps = 64,
    probes: Probes = 1,
    elbo: Annotated[
        int, typer.Option(min=0, metavar="PATHS", help="Also ELBO and IWAE by so many paths.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of all noise, with the pixels.")] = 0,
    batch: Batch = 16,
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Measure the log-density of images under a model, a row an image.

    Nats and bits/dim by the probability flow ODE, with an estimate of the error. Images must have
    the model's size. A row depends on its pixels and on --seed, not on the other images.

    \b
    Examples:
    cartoonists score fashion-mnist/likelihood shirt.png shoes/ -o table.csv
    cartoonists score fashion-mnist/likelihood fashion-mnist --limit 4 --elbo 8 --json
    cartoonists score my-ddpm photos.npy --steps 128 --probes 4 -o table.csv
    """
    with refusals():
        from cartoonists.commands.scoring import ScoreSettings, prepare

        settings = ScoreSettings(steps, probes, elbo, seed, precision)
        run = prepare(model, images, limit, settings, out, device)
        run.go(batch, quiet, dry_run)
    _report(run, out, as_json, dry_run)


@app.command()
def sample(
    model: Model,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder; an interrupted run goes on from it."),
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 16,
    seed: Seed = 0,
    steps: Steps = 64,
    switch: Annotated[
        float | None,
        typer.Option(help="logSNR from which the high-density ODE takes over."),
    ] = None,
    guide: Annotated[
        float | None,
        typer.Option(help="Density guidance: above 0 denser and calmer, below 0 more detail."),
    ] = None,
    probes: Probes = 1,
    batch: Batch = 16,
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Draw samples with their log-densities: a PNG a seed, and a table samples.csv.

    The log-density is tracked while the sample is drawn, in nats and bits/dim, with the error of
    step halving. Without --switch and --guide the samples are the model's own. --guide is the
    strength of density guidance. A sample depends on its seed alone.

    \b
    Examples:
    cartoonists sample fashion-mnist/quality -n 64 --out samples
    cartoonists sample fashion-mnist/quality -n 64 --switch 0 --out high-density
    cartoonists sample fashion-mnist/quality -n 64 --guide -1 --seed 100 --out detail
    """
    if switch is not None and guide is not None:
        raise typer.BadParameter("found with --switch, allowed: one of the two", param_hint="guide")
    with refusals():
        from cartoonists.commands.sampling import SampleSettings, prepare

        settings = SampleSettings(steps, switch, guide, probes, precision)
        run = prepare(model, n, seed, settings, out, device)
        run.go(batch, quiet, dry_run)
    _report(run, run.store.path, as_json, dry_run)


@app.command()
def train(
    images: TrainingPlace,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .safetensors file; a stopped run goes on.")
    ],
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the optimiser.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Or minutes.")] = None,
    kind: Kind = "VP",
    weighting: Weighting = None,
    size: Annotated[int, typer.Option(help="Side of the images; others are cropped.")] = 32,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    start: Start = None,
    held_out: Annotated[int, typer.Option(min=0, help="Held-out images for the bound.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="On the plateau.")] = 1e-3,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror images at random.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and batches.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="Of the network: fp32 or bf16.")] = "fp32",
    as_json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model on images, and measure bits/dim of images that are held out.

    Leaves weights, their card (.json) and the loss (.csv); score and sample take the weights as
    MODEL. Of a place without the parts train and test every tenth image is held out.

    \b
    Examples:
    cartoonists train pets/ --steps 20000 --flip -o pets.safetensors
    cartoonists train fashion-mnist --size 28 --grey --minutes 30 -o mine.safetensors
    cartoonists train pets/ --start p.safetensors --kind RectifiedFlow --steps 5000 -o f.safetensors
    """
    if (steps is None) == (minutes is None):
        raise typer.BadParameter("allowed: --steps or --minutes, one of the two")
    with refusals():
        from cartoonists.commands.training import TrainSettings, prepare, recipe_of

        recipe = recipe_of(
            kind, weighting, steps=steps, minutes=minutes, batch=batch, flip=flip,
            learning_rate=learning_rate, precision=precision, seed=seed,
        )  # fmt: skip
        asked = TrainSettings(size, 1 if grey else 3, start, held_out)
        training = prepare(images, recipe, asked, out, device)
        card = {} if dry_run else training.go(quiet)
    _say_trained(training.settings, len(training.images.images), card, out, as_json)


def _say_trained(settings: dict, n: int, card: dict, out: Path, as_json: bool) -> None:
    """Standard output of a training: JSON, or one line."""
    held_out, spent = card.get("held_out"), card.get("training", {}).get("steps", 0)
    if as_json:
        found = {"settings": settings, "images": n, "steps_done": spent, "held_out": held_out}
        typer.echo(json.dumps(found | {"out": str(out)}, indent=1))
        return
    line = f"{spent} steps of {n} images done: {out}"
    if held_out:
        bits, error = held_out["bits_per_dim"], held_out["standard_error"]
        line += f"; held out {bits:.3f} ± {error:.3f} bits/dim (ELBO)"
    typer.echo(line)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what the library refuses into one line on standard error and exit code 1."""
    from cartoonists.files.errors import CheckpointError, one_line
    from cartoonists.files.resources import ResourceError

    families = (ValueError, FloatingPointError, OSError, CheckpointError, ResourceError)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("cartoonists: interrupted; what is stored stays", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except families as error:
        typer.echo(f"cartoonists: {one_line(str(error)) or type(error).__name__}", err=True)
        raise typer.Exit(REFUSED) from None


def _report(run: "Run", out: Path | None, as_json: bool, dry_run: bool) -> None:
    """Standard output: JSON, or the table where it was written to no file; then the exit code."""
    table, failed = run.result(), run.failed()
    done, asked = len(table), len(run.keys)
    if as_json:
        rows = [{k: _plain(v) for k, v in row.items()} for row in table.to_dict("records")]
        content = {"settings": run.store.settings, "asked": asked, "done": done, "rows": rows}
        typer.echo(json.dumps(content | {"out": None if out is None else str(out)}, indent=1))
    elif out is None and not dry_run:
        typer.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        typer.echo(f"{done} of {asked} rows done" + (f": {out}" if out else ""))
    if failed:
        typer.echo(f"cartoonists: {failed} of {asked} rows have no finite number", err=True)
        raise typer.Exit(REFUSED)


def _plain(value: Any) -> Any:
    """What JSON holds: no number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
