"""Read a file of torch.save, of either kind, or a bare pickle, as plain values and tensors."""

import mmap
import re
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scoresde.errors import InputError, printable
from scoresde.files import regular
from scoresde.foreign import SAVED_ANEW, foreign
from scoresde.pickled.archive import Archive
from scoresde.pickled.graph import Budget, Persistent, parse
from scoresde.pickled.known import STORAGES
from scoresde.pickled.meaning import Meaning
from scoresde.pickled.storage import Storage, Tensors

__all__ = ["read"]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read(path: str | Path) -> Any:
    """What a checkpoint holds; nothing in it is executed, and it takes little more memory than its own size.

    Args:
        path: of a ``.pth``, ``.pt``, ``.ckpt``, ``.bin`` (torch.save, zip or legacy) or ``.pkl`` (bare pickle).

    Returns:
        Dicts, lists, tuples, sets, text, bytes, numbers, tensors on the CPU, and `Record` for the few classes that
        checkpoints hold; types and devices as text: ``"torch.float32"``, ``"cuda:0"``.

    Raises:
        InputError: for a file that is missing, empty, truncated, something else, or holds what no checkpoint does.
    """
    path = Path(path)
    called = printable(str(path))
    if not regular(path):
        raise InputError(f"there is no file {called}")
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:  # files of /proc too, which cannot be mapped
                raise InputError("is empty")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _tree(data)
    except OSError as error:
        raise InputError(f"{called} cannot be read: {error.strerror or error}") from None
    except InputError as error:
        raise InputError(f"{called} {printable(str(error))}") from None


def _tree(data: memoryview) -> Any:
    start = bytes(data[:1024])
    if start.startswith(b"PK\x03\x04"):
        return _zip(data)
    if start[:1] == b"\x80":
        return _pickle(data)
    known = foreign(start)
    raise InputError(known or "is not a checkpoint of PyTorch: neither a zip archive of torch.save nor a pickle")


def _zip(data: memoryview) -> Any:
    archive, budget = Archive(data), Budget(len(data))
    if "constants.pkl" in archive or any(name.startswith("code/") for name in archive.places):
        raise InputError(f"is TorchScript, a program, and none is run here: {SAVED_ANEW}")
    if "data.pkl" not in archive:
        raise InputError("is a zip archive, but not of torch.save: it lacks data.pkl")
    swapped = "byteorder" in archive and bytes(archive.read("byteorder")) == b"big"
    pickle, found = archive.read("data.pkl"), list[Persistent]()
    root, end = parse(pickle, 0, budget, found)
    _ended(end, len(pickle))
    storages: dict[str, Storage] = {}
    for key, (dtype, size) in _claims(found, budget).items():
        place = f"data/{key}"
        start, stop, _ = archive.place(place)
        if stop - start != size * dtype.itemsize:
            raise InputError(f"claims {size} elements of {dtype} in {place}, which has {stop - start} bytes")
        storages[key] = Storage(dtype, size, partial(archive.read, place), swapped)
    return _plain(root, budget, Tensors(len(data)), storages)


def _pickle(data: memoryview) -> Any:
    budget, tensors = Budget(len(data)), Tensors(len(data))
    if _is_legacy(data):
        return _legacy(data, budget, tensors)
    root, end = parse(data, 0, budget)
    _ended(end, len(data))
    return _plain(root, budget, tensors, {}, lambda inner: _inner(inner, budget, tensors))


def _inner(data: memoryview, budget: Budget, tensors: Tensors) -> Any:
    """A storage that is pickled as a file in the file."""
    if not _is_legacy(data):
        raise InputError("holds a stream in its pickle that torch.save did not write")
    try:
        return _legacy(data, budget, tensors)
    except InputError as error:
        raise InputError(f"holds a stream in its pickle that {error}") from None


def _is_legacy(data: memoryview) -> bool:
    """Whether it starts with the pickle of torch's magic number, of protocol 2."""
    return bytes(data[:15]) == b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."


def _legacy(data: memoryview, budget: Budget, tensors: Tensors) -> Any:
    """Pickles in a row (magic, protocol, system, object, keys of storages), then the storages."""
    _, at = parse(data, 0, budget)
    protocol, at = parse(data, at, budget)
    if protocol != _PROTOCOL:
        raise InputError("is of an unknown protocol of torch.save")
    _, at = parse(data, at, budget)
    found: list[Persistent] = []
    root, at = parse(data, at, budget, found)
    keys, at = parse(data, at, budget)
    claims, storages = _claims(found, budget), dict[str, Storage]()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(claims):
        raise InputError("lists other storages than its tensors have")
    for key in keys:
        dtype, size = claims[key]
        if at + 8 + size * dtype.itemsize > len(data):
            raise InputError(
                f"is truncated: it ends at byte {len(data)}, before the {size} elements of {dtype} in storage {key}"
            )
        # torch writes little-endian numbers on every machine; should one not, its counts tell
        (count,), (other,) = struct.unpack_from("<Q", data, at), struct.unpack_from(">Q", data, at)
        if size not in (count, other):
            raise InputError(f"claims {size} elements in storage {key}, which has {count}")
        part = data[at + 8 : at + 8 + size * dtype.itemsize]
        storages[key] = Storage(dtype, size, partial(_same, part), size != count)
        at += 8 + len(part)
    _ended(at, len(data))
    return _plain(root, budget, tensors, storages)


def _same(part: memoryview) -> memoryview:
    return part


def _plain(
    root: Any,
    budget: Budget,
    tensors: Tensors,
    storages: Mapping[str, Storage],
    inner: Callable[[memoryview], Any] | None = None,
) -> Any:
    def outside(identity: Any) -> Storage:
        key, _, _ = _identity(identity)
        if key not in storages:
            raise InputError("refers to a storage in a way that no checkpoint does")
        return storages[key]

    return Meaning(budget, tensors, outside, inner).plain(root)


def _claims(found: list[Persistent], budget: Budget) -> dict[str, tuple[torch.dtype, int]]:
    """The storages that a pickle refers to: the type and number of their elements, by their keys."""
    claims: dict[str, tuple[torch.dtype, int]] = {}
    for one in found:
        key, dtype, size = _identity(_plain(one.identity, budget, Tensors(0), {}))
        if claims.setdefault(key, (dtype, size)) != (dtype, size):
            raise InputError(f"says in two ways what storage {key} is")
    return claims


def _identity(identity: Any) -> tuple[str, torch.dtype, int]:
    match identity:
        case ("storage", str(kind), str(key), str(), int(size), *view) if view in ([], [None]) and kind in STORAGES:
            if 0 <= size < 2**62 and re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", key):
                return key, STORAGES[kind], size
    raise InputError("refers to a storage in a way that no checkpoint does")


def _ended(end: int, size: int) -> None:
    if end != size:
        raise InputError(f"goes on after its end, from byte {end} to byte {size}")
