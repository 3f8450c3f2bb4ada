"""A config.json as plain values of known names and types, and the weights beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scoresde.compat.base import inside, read_json
from scoresde.errors import InputError, nearest
from scoresde.pickled import read
from scoresde.store import read_any

__all__ = ["configured", "tensors"]

_ABOUT = {"_class_name", "_diffusers_version", "_name_or_path", "_use_default_values", "_commit_hash"}
_WEIGHTS = "diffusion_pytorch_model"


def configured(config: Mapping[str, Any], known: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The values of a configuration; those that it lacks are the defaults.

    Args:
        config: as read from a file.
        known: the default of every name; a value is of its type, None where it may be, or a list of its entries' type.
        kind: what is configured, for messages.

    Raises:
        InputError: for a name that is not known, and a value of another type.
    """
    for name, value in config.items():
        if name in _ABOUT:
            continue
        if name not in known:
            raise InputError(f"its {kind} has {name!r:.80}, which is no setting that is known: {nearest(name, known)}")
        if not _fits(value, known[name]):
            raise InputError(f"its {kind} has {name} = {value!r:.80}, which is no value for it")
    return {name: config.get(name, default) for name, default in known.items()}


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of a default's type: a number for a number, a short list for a list, anything for None."""
    if value is None:
        return True
    if isinstance(default, list):
        entries = isinstance(value, list) and 0 < len(value) <= 64
        return entries and all(v is not None and _fits(v, default[0]) for v in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and (default is None or isinstance(default, bool))
    if isinstance(default, float):
        return isinstance(value, int | float) and abs(value) < 1e30
    if isinstance(default, int):
        return isinstance(value, int) and abs(value) < 1 << 31
    if isinstance(default, str):
        return isinstance(value, str) and len(value) < 200
    return isinstance(value, int | float | str | list)


def tensors(folder: Path, place: str) -> dict[str, Tensor]:
    """A network's weights: one safetensors file, several by an index, or a pickle of PyTorch.

    Args:
        folder: whose files may be read.
        place: where in it they are, ``"."`` for right there.

    Raises:
        InputError: where there are none, and for files that are not whole, or outside the folder.
    """
    before = "" if place == "." else f"{place}/"
    for ending in ("safetensors", "bin"):
        name = f"{before}{_WEIGHTS}.{ending}"
        if (folder / name).exists():
            return _file(folder, name)
        if (folder / f"{name}.index.json").exists():
            return _sharded(folder, before, f"{name}.index.json")
    raise InputError(f"it lacks its weights: {before}{_WEIGHTS}.safetensors or .bin")


def _file(folder: Path, name: str) -> dict[str, Tensor]:
    path = inside(folder, name)
    found = read_any(path)[0] if name.endswith(".safetensors") else read(path)
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"its {name:.80} holds something else than named tensors")
    return found


def _sharded(folder: Path, before: str, index: str) -> dict[str, Tensor]:
    places = read_json(inside(folder, index)).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"its {index} has no weight_map from tensors to files")
    weights: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if not name.endswith((".safetensors", ".bin")):
            raise InputError(f"its {index} names {name!r:.80}, which is no file of weights")
        part = _file(folder, before + name)
        odd = sorted({tensor for tensor, file in places.items() if file == name} ^ part.keys())
        if odd:
            raise InputError(f"its {index} and {name:.80} do not agree on {odd[0]}")
        weights |= part
    return weights
