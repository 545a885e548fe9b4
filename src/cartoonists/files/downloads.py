"""Downloads into a cache: pinned or checksummed, retried, whole or not at all, one line on failure.

No model comes from elsewhere.  Of models, only JSON, text and safetensors are fetched; what a
function of the user's own reads comes as bytes, whatever it is.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256

CACHE_VARIABLE = "CARTOONISTS_CACHE"
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"\w[\w.-]*")
HUB_SOURCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
TIMEOUT = 30  # seconds without an answer
PATTERNS = {  # what a format consists of; pickles and duplicates in half precision stay away
    "diffusers": ["", "unet/", "scheduler/"],
    "latent": ["", "unet/", "scheduler/", "vae/", "text_encoder/", "tokenizer/"],
    "pipeline": ["", "unet/", "transformer/", "scheduler/", "vae/", "text_encoder/",
                 "text_encoder_2/", "text_encoder_3/"],
}  # fmt: skip
CONFIGS = ["*config.json", "model_index.json"]
WEIGHTS = ["diffusion_pytorch_model{}.safetensors*", "model{}.safetensors*"]
TOKENIZERS = {  # files of text, and of T5 the tables of SentencePiece
    "latent": ["tokenizer/*.json", "tokenizer/merges.txt"],
    "pipeline": [f"tokenizer{n}/{name}" for n in ("", "_2", "_3")
                 for name in ("*.json", "merges.txt", "spiece.model")],
}  # fmt: skip

Result = TypeVar("Result")


class DownloadError(CheckpointError):
    """A download failed, or what came is not what was promised."""


class _Passing(Exception):
    """A fault that may pass: worth another attempt."""


def cache_dir(given: str | Path | None = None) -> Path:
    """The cache folder: as given, else ``$CARTOONISTS_CACHE``, else the user's cache."""
    import pooch

    return Path(given or os.environ.get(CACHE_VARIABLE) or pooch.os_cache("cartoonists"))


def fetch_url(
    url: str, sha256: str, target: Path, *, offline=False, attempts: int = 3, wait: float = 1.0
) -> Path:
    """Download ``url`` to ``target`` unless it is there already; its SHA-256 must be as given.

    A fault that may pass (no answer, cut off, HTTP 429 or 5xx) is tried again, ``attempts`` times
    in all with doubling waits.  Raises DownloadError in one line, leaving nothing half-written.
    """
    if not re.match(r"https?://", url):
        raise DownloadError(f"url: {url!r} found, allowed: http:// or https://")
    if not SHA256.fullmatch(sha256):
        raise DownloadError(f"sha256 of {url}: {sha256!r} found, allowed: 64 hexadecimal digits")
    if target.is_file():
        if file_sha256(target) == sha256:
            return target
        target.unlink()  # altered in the cache
    if offline:
        raise DownloadError(f"{url}: not in the cache ({target}), and downloads are off (offline)")
    _retried(lambda: _fetch_once(url, sha256, target), url, attempts, wait)
    return target


def fetch_arguments(
    arguments: Mapping[str, Any] | None, cache: str | Path | None = None, **options
) -> dict[str, Any] | None:
    """Arguments of a function, each ``{url, sha256}`` replaced by a path in the cache.

    With a checksum for ``sha256`` it is a file, which is downloaded unless it is there.  With a
    mapping of names to checksums it is a folder of files, each at ``<url>/<name>``.  The files are
    not opened.  ``options`` are those of `fetch_url`.  Raises DownloadError in one line.
    """
    if arguments is None:
        return None
    local = dict(arguments)
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            if value.keys() != {"url", "sha256"}:
                found = ", ".join(map(str, value)) or "nothing"
                raise DownloadError(f"arguments.{key}: {found} found, allowed: url and sha256")
            local[key] = str(_fetch_argument(value["url"], value["sha256"], cache, options))
    return local


def _fetch_argument(url: str, sha256: str | Mapping[str, str], cache, options) -> Path:
    one = isinstance(sha256, str)
    names = {url.rpartition("/")[2]: sha256} if isinstance(sha256, str) else sha256
    for name in names:
        if not FILE_NAME.fullmatch(name):
            raise DownloadError(f"{url}: {name!r} found, allowed: the name of a file")
    listed = "".join(f"{name} {names[name]}\n" for name in sorted(names))
    folder = cache_dir(cache) / "files" / hashlib.sha256(listed.encode()).hexdigest()[:16]
    for name, expected in names.items():
        address = url if one else f"{url.rstrip('/')}/{name}"
        fetch_url(address, expected, folder / name, **options)
    return folder / name if one else folder


def _fetch_once(url: str, sha256: str, target: Path) -> None:
    import pooch
    import requests

    target.parent.mkdir(parents=True, exist_ok=True)
    get = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    try:
        pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, downloader=get)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        fault = _Passing if status == 429 or status >= 500 else DownloadError
        raise fault(f"{url}: the server answered {status}") from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Passing(f"{url}: {_network_reason(error)}") from None
    except requests.RequestException as error:
        raise _Passing(f"{url}: cut off ({type(error).__name__})") from None
    except ValueError as error:  # of pooch: another checksum, and the file is gone
        others = set(re.findall(r"[0-9a-f]{64}", str(error))) - {sha256}
        found = ", ".join(sorted(others)) or "another"
        raise DownloadError(f"{url}: sha256 {found} found, expected {sha256}") from None


def _network_reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "IncompleteRead" in text or "Connection broken" in text:
        return "cut off"
    return "no answer (no network, or a wrong address)"


def fetch_hub(
    source: str,
    form: str,
    *,
    sha256: str | None = None,
    variant: str | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
    attempts: int = 3,
    wait: float = 1.0,
) -> Path:
    """The folder of ``hf:org/name@revision`` in the cache, downloaded where it is not there yet.

    The revision is a commit (40 hexadecimal digits); a branch or tag may move, and is allowed only
    with the ``sha256`` of the network's weights.  Weights of the named ``variant`` (such as *fp16*)
    come beside those without one; unnamed, the only one that a part of the model has.  Every file
    is checked against the hub's checksum.  The hub's address is ``$HF_ENDPOINT`` where that is set.
    Raises DownloadError in one line.
    """
    match = HUB_SOURCE.fullmatch(source)
    if not match:
        raise DownloadError(f"source: {source!r} found, allowed: hf:org/name@revision")
    if not COMMIT.fullmatch(match["revision"]) and sha256 is None:
        raise DownloadError(
            f"{source}: revision {match['revision']!r} found, "
            "allowed: a commit of 40 hexadecimal digits (or any revision, with sha256)"
        )
    folder = cache_dir(cache) / "hub"
    attempts = 1 if offline else attempts

    def attempt() -> Path:
        return _snapshot(source, match["repo"], match["revision"], form, folder, offline, variant)

    try:
        snapshot = _retried(attempt, source, attempts, wait)
    finally:
        for half in folder.glob(f"models--{match['repo'].replace('/', '--')}/blobs/*.incomplete"):
            half.unlink(missing_ok=True)
    _check_blobs(source, snapshot)
    if sha256 is not None:
        _check_weights(source, snapshot, sha256)
    return snapshot


def _snapshot(
    source: str,
    repo: str,
    revision: str,
    form: str,
    folder: Path,
    offline: bool,
    variant: str | None,
) -> Path:
    """The files of a format in the cache: configs and weights, then variants that are needed."""
    places = PATTERNS[form]
    wanted = [place + name for place in places for name in CONFIGS]
    wanted += TOKENIZERS.get(form, [])
    kinds = ["", "-*-of-*"] + ([f".{variant}", f".{variant}-*-of-*"] if variant else [])
    wanted += [p + name.format(kind) for p in places for name in WEIGHTS for kind in kinds]
    options = {"repo": repo, "revision": revision, "folder": folder, "offline": offline}
    snapshot = _download(source, wanted, options)
    bare = [
        p for p in places if (snapshot / p / "config.json").is_file() and not _weights(snapshot / p)
    ]
    if not bare:
        return snapshot
    return _download(source, [p + name.format(".*") for p in bare for name in WEIGHTS], options)


def _weights(place: Path) -> list[Path]:
    return sorted(place.glob("*.safetensors"))


def _download(source: str, wanted: list[str], where: dict) -> Path:
    from huggingface_hub import errors, snapshot_download

    folder, offline = where["folder"], where["offline"]
    try:
        return Path(
            snapshot_download(
                where["repo"], revision=where["revision"], cache_dir=folder, allow_patterns=wanted,
                local_files_only=offline, max_workers=4, endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )  # fmt: skip
    except errors.RevisionNotFoundError:
        raise DownloadError(f"{source}: the hub knows no such revision") from None
    except errors.RepositoryNotFoundError:
        raise DownloadError(
            f"{source}: the hub knows no such repository (or it is private)"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        fault = _Passing if status == 429 or status >= 500 else DownloadError
        raise fault(f"{source}: the hub answered {status}") from None
    except errors.LocalEntryNotFoundError as error:
        if offline:
            raise DownloadError(
                f"{source}: not in the cache ({folder}), and downloads are off (offline)"
            ) from None
        raise _Passing(f"{source}: {_hub_reason(error)}") from None
    except (errors.HTTPError, OSError) as error:  # HTTPError: of whichever library the hub's uses
        raise _Passing(f"{source}: {_hub_reason(error)}") from None


def _hub_reason(error: BaseException | None) -> str:
    """Why a download broke off, from the chain of causes."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status:
            return f"the hub answered {status}"
        if "peer closed" in str(error) or "onsistency check failed" in str(error):
            return "cut off"
        error = error.__cause__ or error.__context__
    return "no answer from the hub (no network, or a wrong HF_ENDPOINT)"


def _check_blobs(source: str, snapshot: Path) -> None:
    """Compare each file with the checksum that names it in the hub's cache; remove a wrong one."""
    for file in sorted(p for p in snapshot.rglob("*") if p.is_file()):
        blob = file.resolve()
        if not blob.is_relative_to(snapshot.parents[1].resolve()):
            raise DownloadError(f"{source}: {file.name} leads out of the cache")
        found = _named_digest(blob)
        if found != blob.name:
            blob.unlink()
            file.unlink(missing_ok=True)
            name = file.relative_to(snapshot).as_posix()
            raise DownloadError(f"{source}: {name} has checksum {found}, the hub says {blob.name}")


def _named_digest(blob: Path) -> str:
    """SHA-256 where the name is one (large files), else git's SHA-1 of a blob (small files)."""
    if SHA256.fullmatch(blob.name):
        return file_sha256(blob)
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _check_weights(source: str, snapshot: Path, sha256: str) -> None:
    places = [snapshot / "unet", snapshot / "transformer", snapshot]
    weights = [
        p for place in places for p in sorted(place.glob("diffusion_pytorch_model*.safetensors"))
    ]
    found = [file_sha256(p) for p in weights]
    if sha256 not in found:
        raise DownloadError(
            f"{source}: sha256 {', '.join(found) or 'none'} found, expected {sha256}"
        )


def _retried(action: Callable[[], Result], name: str, attempts: int, wait: float) -> Result:
    if attempts < 1:
        raise DownloadError(f"attempts: {attempts} found, allowed: 1 or more")
    for attempt in range(attempts):
        try:
            return action()
        except _Passing as fault:
            if attempt + 1 == attempts:
                raise DownloadError(f"{fault}, {attempts} attempts") from None
            time.sleep(wait * 2**attempt)
    raise AssertionError("unreachable")
