"""Networks pickled as persistent objects: where they are in a file, how they were built, how their blocks are named."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from scoresde.errors import InputError, nearest
from scoresde.pickled import Record

__all__ = ["attribute", "flat", "flat_place", "heads_first", "network", "parts", "settings"]

_BLOCK = re.compile(r"(enc|dec)\.(\d{1,9})x\2_([a-z_]+?)(\d{0,9})\.(.+)")


def network(tree: Any, classes: Collection[str]) -> Record | None:
    """The network of a file: its average (``ema``) where it has one, else what was in training (``net``).

    Args:
        tree: what the file holds.
        classes: the names that the network's class may have.

    Returns:
        None where there is no such network.
    """
    for found in (tree.get("ema"), tree.get("net")) if isinstance(tree, Mapping) else (tree,):
        if isinstance(found, Record) and found.class_name in classes and isinstance(found.state, Mapping):
            return found
    return None


def settings(record: Record, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a recorded object was built with, checked.

    Args:
        record: a persistent object.
        defaults: its constructor's arguments in order, with their defaults; a type where there is none. None is 0.

    Raises:
        InputError: for an argument that is missing, unknown or of another type.
    """
    name, state = record.class_name, record.state if isinstance(record.state, Mapping) else {}
    args, kwargs = state.get("_init_args"), state.get("_init_kwargs")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping) or len(args) > len(defaults):
        raise InputError(f"its {name} does not say how it was built")
    given = dict(zip(defaults, args, strict=False)) | dict(kwargs)
    for key in given:
        if key not in defaults:
            raise InputError(f"its {name} has an argument {key}, which is not known: {nearest(str(key), defaults)}")
    said: dict[str, Any] = {}
    for key, default in defaults.items():
        value = given.get(key, default)
        value = 0 if value is None else value
        if isinstance(value, type):
            raise InputError(f"its {name} was built without {key}")
        said[key] = _checked(name, key, value, default)
    return said


def _checked(name: str, key: str, value: Any, default: Any) -> Any:
    kind = default if isinstance(default, type) else type(default)
    several = isinstance(value, list | tuple)
    items, wanted = list(value) if several else [value], int if kind is list else kind
    fits = all(type(item) is wanted or (wanted is float and type(item) is int) for item in items)
    sizes = fits and (wanted is not int or all(0 <= item < 2**31 for item in items))
    long = len(value) > 100 if several or isinstance(value, str) else False
    if not sizes or several != (kind is list) or long:
        raise InputError(f"its {name} was built with {key} = {str(value)[:80]}, where {kind.__name__} is expected")
    return items if several else kind(value)


def attribute(record: Record, key: str) -> float:
    """A number among a recorded object's attributes.

    Raises:
        InputError: where there is no such number.
    """
    value = record.state.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(f"its {record.class_name} does not say what its {key} is")
    return float(value)


def parts(name: str, resolution: int, levels: int) -> tuple[str, int, str, int, str] | None:
    """A layer's name ``enc.32x32_block1.conv0.weight`` as (``enc``, level, ``block``, 1, ``conv0.weight``).

    Args:
        name: of a tensor.
        resolution, levels: of the network: level i has resolution/2^i.

    Returns:
        None for other names.
    """
    found = _BLOCK.fullmatch(name)
    level = {resolution >> i: i for i in range(levels)}
    if found is None or int(found[2]) not in level:
        return None
    return found[1], level[int(found[2])], found[3], int(found[4] or 0), found[5]


def flat_place(way: str, level: int, kind: str, index: int, blocks: int, levels: int) -> str | None:
    """Where a layer is in our networks whose encoder and decoder are flat lists; None for a layer they do not have."""
    if (way, kind) == ("dec", "in"):
        return f"middle.{index}"
    if way == "enc":
        start = level * (blocks + 1)
        return {"conv": "stem", "down": f"encoder.{start - 1}", "block": f"encoder.{start + index}"}.get(kind)
    start = (levels - 1 - level) * (blocks + 2)
    return {"up": f"decoder.{start - 1}", "block": f"decoder.{start + index}"}.get(kind)


def flat(name: str, said: Mapping[str, Any], layers: Mapping[str, str]) -> str | None:
    """Our name of a tensor in such a network's encoder or decoder.

    Args:
        name: the foreign one.
        said: the network's settings.
        layers: our names of the layers of a block.

    Returns:
        None for a tensor that is elsewhere, or unknown.
    """
    levels = len(said["channel_mult"])
    found = parts(name, said["img_resolution"], levels)
    place = flat_place(*found[:4], said["num_blocks"], levels) if found else None
    if found is None or place is None:
        return None
    if place == "stem":
        return f"stem.{found[4]}"
    layer, dot, last = found[4].rpartition(".")
    inner = layers.get(layer if dot else last)
    return None if inner is None else f"{place}.{inner}.{last}" if dot else f"{place}.{inner}"


def heads_first(tensor: Tensor) -> Tensor:
    """Rows in the order (head, channel, which of q, k, v) in the order (q, k, v; head, channel)."""
    return tensor.reshape(-1, 3, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)
