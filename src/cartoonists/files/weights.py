"""Safetensors files of a network: which ones to read, and what is in them, from headers alone.

Nothing here reads a tensor or imports PyTorch, so that a plan can look at a model.  Pickles are
never opened.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cartoonists.files.configs import read_json
from cartoonists.files.errors import CheckpointError

WEIGHTS = "diffusion_pytorch_model"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
NAME = (  # after the stem, diffusion_pytorch_model or model
    r"(\.(?P<variant>[\w-]+?))?(-(?P<part>\d{5})-of-(?P<parts>\d{5}))?\.safetensors"
)
FLOATS = ("F64", "F32", "F16", "BF16")
PREFIXES = ("module.", "_orig_mod.", "model.", "unet.")  # DataParallel, torch.compile, Lightning
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: where it lies, its shape and its type in safetensors' words."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def variants(place: Path, stem: str = WEIGHTS) -> dict[str, list[re.Match]]:
    """The files of each variant of a component's weights; the one without a name is ""."""
    found: dict[str, list[re.Match]] = {}
    for path in sorted(place.glob(f"{stem}*.safetensors")):
        if match := re.fullmatch(re.escape(stem) + NAME, path.name):
            found.setdefault(match["variant"] or "", []).append(match)
    return found


def weight_files(place: Path, variant: str | None = None) -> list[Path]:
    """The files of one component: those without a variant, the one named, or the only one.

    ``variant`` is the word of *diffusion_pytorch_model.<variant>.safetensors*, such as *fp16*.
    Raises CheckpointError where there are none, several without a name, or shards are missing.
    """
    found = variants(place)
    if not found:
        raise _no_weights(place)
    if variant is None:
        if "" not in found and len(found) > 1:
            raise CheckpointError(
                f"{place}: only variants of the weights found, allowed: one, or variant: one of "
                f"{', '.join(found)}"
            )
        variant = "" if "" in found else next(iter(found))
    if variant not in found:
        words = ", ".join(name or "none (no variant)" for name in found)
        raise CheckpointError(f"{place}: variant: {variant!r} found, allowed here: {words}")
    return _complete(place, variant, found[variant])


def _no_weights(place: Path) -> CheckpointError:
    entries = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
    pickled = [name for name in entries if name.endswith(PICKLES)]
    if pickled:
        return CheckpointError(
            f"{place}: only pickled weights found ({pickled[0]}), allowed: safetensors "
            "(loading a pickle runs what is in it; docs/models.md says how to convert it)"
        )
    return CheckpointError(f"{place}: {WEIGHTS}.safetensors is missing")


def _complete(place: Path, variant: str, matches: list[re.Match]) -> list[Path]:
    whole = [m for m in matches if not m["part"]]
    parts = [m for m in matches if m["part"]]
    if whole and parts:
        raise CheckpointError(
            f"{place}: {whole[0].string} and {parts[0].string} found, allowed: one file or shards"
        )
    if whole:
        return [place / whole[0].string]
    promised = {m["parts"] for m in parts}
    numbers = sorted(int(m["part"]) for m in parts)
    if len(promised) != 1 or numbers != list(range(1, int(promised.pop()) + 1)):
        raise CheckpointError(
            f"{place}: shards {', '.join(m.string for m in parts[:SHOWN])} found, allowed: all of "
            "them, of one set"
        )
    files = [place / m.string for m in parts]
    _check_index(place, variant, files)
    return files


def _check_index(place: Path, variant: str, files: list[Path]) -> None:
    """Compare the index of shards, where there is one, with what lies in them."""
    index = place / f"{WEIGHTS}.safetensors.index{'.' * bool(variant)}{variant}.json"
    if not index.is_file():
        return
    promised = read_json(index).get("weight_map")
    if not isinstance(promised, dict):
        raise CheckpointError(f"{index}: weight_map: none found, allowed: tensors to files")
    found = {name: tensor.file.name for name, tensor in tensors_in(files).items()}
    wrong = sorted(
        name for name in promised.keys() | found if promised.get(name) != found.get(name)
    )
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{index}: {name!r} promised in {promised.get(name, 'no file')}, found in "
            f"{found.get(name, 'no file')} ({len(wrong)} such)"
        )


def tensors_in(files: list[Path]) -> dict[str, TensorInfo]:
    """Every tensor by its name, from the files' headers.

    Raises CheckpointError where a file is damaged, a name occurs twice, or a tensor holds anything
    but floating-point numbers (a quantised network is another network).
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, TensorInfo] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as content:
                for name in content.keys():  # noqa: SIM118  (not a mapping)
                    part = content.get_slice(name)
                    if name in found:
                        raise CheckpointError(f"{file}: {name} stands in {found[name].file} too")
                    info = TensorInfo(file, name, tuple(part.get_shape()), part.get_dtype())
                    found[name] = info
        except (OSError, SafetensorError, ValueError) as error:
            raise damaged(file, error) from None
    for info in found.values():
        if info.dtype not in FLOATS:
            raise CheckpointError(
                f"{info.file}: {info.name}: {info.dtype} found, allowed: {', '.join(FLOATS)}"
            )
    return found


def damaged(place: Path, error: Exception) -> CheckpointError:
    """What to raise where a network cannot be read: one line, with the beginning of the cause."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return CheckpointError(f"{place}: damaged or of another architecture ({reason})")


def matched(
    place: Path, found: dict[str, TensorInfo], expected: dict[str, tuple[int, ...]]
) -> dict[str, TensorInfo]:
    """The network's own names to the tensors of the file, all of them and no other.

    Mended are names that tools prefix (*module.* and the like, where every tensor has it) and those
    of diffusers' old attention layers (*query* for *to_q*).  Raises CheckpointError with names for
    what is missing, what the network does not know, and shapes that differ.
    """
    named = dict(found)
    while prefix := next((p for p in PREFIXES if named and _all_begin(named, p, expected)), ""):
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    named = {_new_name(name, named, expected): tensor for name, tensor in named.items()}
    problems = [
        _listed("missing", sorted(expected.keys() - named)),
        _listed("unknown", sorted(named.keys() - expected)),
        _listed(
            "of another shape",
            [
                f"{name} {list(named[name].shape)} instead of {list(shape)}"
                for name, shape in sorted(expected.items())
                if name in named and named[name].shape != shape
            ],
        ),
    ]
    if any(problems):
        raise CheckpointError(
            f"{place}: damaged or of another architecture: {'; '.join(filter(None, problems))}"
        )
    return named


def _all_begin(named: dict, prefix: str, expected: dict) -> bool:
    own = any(name.startswith(prefix) for name in expected)
    return not own and all(name.startswith(prefix) for name in named)


def _new_name(name: str, named: dict, expected: dict) -> str:
    block, _, end = name.rpartition(".")
    block, _, layer = block.rpartition(".")
    new = f"{block}.{OLD_ATTENTION.get(layer, layer)}.{end}"
    return new if name not in expected and new in expected and new not in named else name


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}"
