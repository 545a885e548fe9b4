"""Results on disk: written whole or not at all, each with a record of how it was made.

A table ``x.csv`` has its record beside it in ``x.csv.json``; arrays (``.npz``) and figures carry
it inside.  The record holds what is needed to make the artifact again: rule, resolved parameters
(seeds among them), hash of the library code, revision, versions, SHA-256 of the models.
"""

import contextlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

RECORD_NAME = "record"  # of the entry in an .npz file, and of the metadata field of a figure
PROGRESS_SECONDS = 20.0
PACKAGES = ("cartoonists", "torch", "numpy", "scipy", "diffusers")


class Superseded(Exception):
    """Another run of the same job has begun since this one did."""


class _Claim:
    """The right to write a job's results: of the run that began last, which the log names."""

    def __init__(self, log: Path):
        self.log, self.line = log, f"run {uuid.uuid4().hex}\n"
        log.unlink(missing_ok=True)  # a run that lives on keeps writing to its own
        log.write_text(self.line, encoding="utf-8")

    def check(self) -> None:
        """Raise Superseded where the log is another run's, or gone."""
        try:
            with self.log.open(encoding="utf-8") as file:
                current = file.readline()
        except FileNotFoundError:
            current = ""
        if current != self.line:
            raise Superseded(f"another run of this job has begun ({self.log}): nothing written")


_claims: list[_Claim] = []  # of the job in this process, if one runs


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; it becomes ``path`` only on success.

    The name is unique to the process, and in a job whose workflow was killed and that was run again
    since, nothing is written (Superseded): such a job, alive still, leaves the newer file alone.
    Left-overs of killed jobs are removed.  Raises OSError, which names ``path``.
    """
    path = Path(path)
    for claim in _claims:
        claim.check()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.tmp*"):
            stale.unlink(missing_ok=True)
        yield temporary
        for claim in _claims:
            claim.check()
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON; numbers that JSON cannot hold (NaN, infinity) raise ValueError."""
    with atomic(path) as temporary:
        text = json.dumps(content, indent=1, sort_keys=True, default=_plain, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_table(path: str | Path, table: pd.DataFrame, record: Mapping) -> None:
    """Write a table as CSV with all digits, and its record in ``<path>.json``; both or neither."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
        write_json(f"{path}.json", dict(record))


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], record: Mapping) -> None:
    """Write arrays as ``.npz``, the record inside as JSON."""
    if RECORD_NAME in arrays:
        raise ValueError(f"arrays: name {RECORD_NAME!r} found, which holds the record")
    text = json.dumps(dict(record), sort_keys=True, default=_plain)
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{RECORD_NAME: np.array(text)}, **arrays)  # type: ignore[arg-type]


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and record of an ``.npz`` file that `write_arrays` wrote (nothing is unpickled)."""
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files if name != RECORD_NAME}
        return arrays, json.loads(str(content[RECORD_NAME]))


def read_record(path: str | Path) -> dict:
    """The record of an artifact of any kind: table, arrays or JSON beside it."""
    path = Path(path)
    if path.suffix == ".npz":
        return read_arrays(path)[1]
    return json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))


def revision() -> str:
    """``git describe`` of the package's own clone, else the package's version.

    A repository that merely holds the package, in a virtual environment or as a copied folder, is
    another's, and its commit says nothing about this code.
    """
    file = Path(__file__).resolve()
    package = file.parents[1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        root = Path(_git(package, "rev-parse", "--show-toplevel")).resolve()
        if root / "src" / package.name == package and _git(package, "ls-files", "--", str(file)):
            return _git(package, "describe", "--always", "--dirty", "--abbrev=12")
    return package_version("cartoonists")


def _git(folder: Path, *arguments: str) -> str:
    """What git says in that folder; raises where it fails.  A hook's ``GIT_DIR`` would mislead."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def make_record(rule: str, params: Mapping, inputs: Mapping | list, **more: Any) -> dict:
    """The record of one job; ``more`` adds what the experiment knows (model SHA-256, counts)."""
    return {
        "rule": rule,
        "params": _plain(params),
        "inputs": _plain(inputs),
        "revision": revision(),
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in PACKAGES},
        **more,
    }


def machine() -> dict[str, Any]:
    """Processor, number of cores and operating system, for what depends on them."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        processor = names[0] if names else processor
    system = f"{platform.system()} {platform.machine()}"
    return {"processor": processor, "cores": os.cpu_count(), "system": system}


class _Log(io.TextIOBase):
    """A log file that also says on the console, now and then, how far a progress bar is.

    tqdm redraws its bar with carriage returns; the log gets every state as a line of its own and
    the console one line every ``PROGRESS_SECONDS``.
    """

    def __init__(self, file: TextIO, label: str):
        self.file = file
        self.label = label
        self.console = sys.stderr
        self.last = time.monotonic()

    def write(self, text: str) -> int:
        bar = text.strip()
        if not text.startswith("\r"):
            self.file.write(text)
        elif bar:
            self.file.write(bar + "\n")
            if time.monotonic() - self.last > PROGRESS_SECONDS:
                print(f"{self.label}: {bar}", file=self.console, flush=True)
                self.last = time.monotonic()
        return len(text)


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[dict]:
    """Run a workflow script: give its record, send its output to its log, fail in one line.

    ``snakemake`` is the object that Snakemake puts into a script (rule, params, input, log).
    Progress bars are told on the console now and then.  A failure leaves the traceback in the log
    and one line on the console.  A run that was superseded ends well: what it was to make is the
    newer run's, and a failure would let Snakemake remove it.
    """
    label = " ".join([snakemake.rule, *(str(value) for value in snakemake.wildcards)])
    console, path = sys.stderr, Path(snakemake.log[0])
    file: TextIO | None = None
    try:
        _claims.append(_Claim(path))
        file = path.open("a", encoding="utf-8", buffering=1)
        log = _Log(file, label)
        with contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
            yield make_record(
                snakemake.rule,
                dict(snakemake.params.items()),
                [str(name) for name in snakemake.input],
                wildcards=dict(snakemake.wildcards.items()),
            )
    except Superseded as notice:
        print(f"{label}: {notice}", file=console)
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{label}: {message} (log: {path})", file=console)
        with contextlib.suppress(OSError):  # a full disk
            traceback.print_exc(file=file or io.StringIO())
        sys.exit(1)
    finally:
        _claims.clear()
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def package_version(package: str) -> str:
    """The version of a package that is installed; in words where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """Values of other libraries as what JSON holds."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
