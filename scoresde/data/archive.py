"""Images in zip or tar files: EDM's data sets, WebDataset shards."""

import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, Literal

import torch
from torch import Tensor

from scoresde.data.base import Data
from scoresde.data.encoded.pictures import SUFFIXES, Mode, Pictures
from scoresde.errors import InputError, check, printable, typed

__all__ = ["Archive"]

_MOST = 2**28  # bytes of labels


@dataclass(frozen=True)
class Archive(Data):
    """Images of archives, in the order of their names: x = low + (1 − low) · value/255. Nothing is unpacked.

    A label is the number in the ``.cls`` file of the image's name (WebDataset), or in ``dataset.json`` (EDM); else,
    where all images lie in folders, the number of the first of them.

    Args:
        path: a .zip or an uncompressed .tar, or several: ``shards/part-*.tar``.
        mode: RGB or L, for grey: 8 bits of what every image is.
        size: 0 takes images as large as they are, all of one size; else the middle square of each, resized.
        low: what black becomes, in [-1, 0]; white is 1. Song et al.'s VE networks read [0, 1].
        on_error: ``stop`` at an image that cannot be used, or ``skip`` it with a note.

    Raises:
        InputError: for a value out of range.
    """

    path: str = ""
    mode: Mode = "RGB"
    size: int = 0
    low: float = -1.0
    on_error: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        """Refuse a size or a range that is none."""
        typed(self)
        check(self, "size", 0 <= self.size <= 2**15, "a whole number in [0, 2**15]")
        check(self, "low", -1 <= self.low <= 0, "a number in [-1, 0]")

    def load(self) -> Pictures:
        """The images; the archives' lists and headers are read at the first call, pixels when they are asked for.

        Raises:
            InputError: for an archive that is not there, cannot be read or holds no images.
        """
        return self._read[0]

    @property
    def range(self) -> tuple[float, float]:  # type: ignore[override]
        """(low, 1)."""
        return self.low, 1.0

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(3, H, W), or (1, H, W) for grey."""
        return self._read[0].shape

    @property
    def classes(self) -> int:  # type: ignore[override]
        """One more than the greatest label, 0 where some image has none."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Pictures, int]:
        members = [_Member(path, name, read) for path in self._paths() for name, read in _members(path)]
        images = [member for member in members if member.name.lower().endswith(SUFFIXES)]
        if not images:
            raise InputError(f"{printable(self.path)} holds no images ({' '.join(SUFFIXES)})")
        label = _labels(images, members)
        called = [f"{each.archive}:{each.name}" for each in images]
        skip = self.on_error == "skip"
        pictures = Pictures(called, lambda i: images[i].read(), label, self.mode, self.size, self.low, skip)
        return pictures, 0 if label is None else int(label.max()) + 1

    def _paths(self) -> list[Path]:
        if not self.path:
            raise InputError("data=archive needs a .zip or .tar of images: data.path=…")
        path = Path(self.path)
        found = [path] if path.is_file() else sorted(path.parent.glob(path.name))
        if not found:
            raise InputError(f"data.path = {printable(self.path)}: there is no such file")
        return found


@dataclass(frozen=True)
class _Member:
    """A file in an archive."""

    archive: Path
    name: str
    read: Callable[[], IO[bytes]]

    @property
    def stem(self) -> tuple[Path, str]:
        """What the files of one sample share: all up to the first dot of the last part."""
        folder, _, last = self.name.rpartition("/")
        return self.archive, f"{folder}/{last.partition('.')[0]}"


def _members(path: Path) -> list[tuple[str, Callable[[], IO[bytes]]]]:
    """Names and readers of an archive's files, by name; each can be read from any thread."""
    try:
        if zipfile.is_zipfile(path):
            file = zipfile.ZipFile(path)
            inside = sorted((each for each in file.infolist() if not each.is_dir()), key=lambda each: each.filename)
            return [(each.filename, partial(file.open, each)) for each in inside]
        with tarfile.open(path, "r:") as tar:
            found = sorted((each for each in tar if each.isreg()), key=lambda each: each.name)
        handle = path.open("rb")
        return [(each.name, partial(_slice, handle, each.offset_data, each.size)) for each in found]
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        packed = ": if it is compressed, unpack it to a plain .tar, which can be read at any place"
        raise InputError(f"{printable(str(path))} is no .zip or plain .tar ({error}){packed}") from None


def _slice(handle: IO[bytes], start: int, size: int) -> IO[bytes]:
    return io.BytesIO(os.pread(handle.fileno(), size, start))


def _labels(images: list[_Member], members: list[_Member]) -> Tensor | None:
    """A number for each image, or None where one has none."""
    numbers: dict[Any, int] = {}
    for member in members:
        if member.name.endswith(".cls"):
            numbers[member.stem] = _number(member)
        elif member.name == "dataset.json":
            listed = _json(member).get("labels") or []
            numbers |= {(member.archive, name): label for name, label in listed if isinstance(label, int)}
    if numbers:
        found = [numbers.get(each.stem, numbers.get((each.archive, each.name))) for each in images]
        known = [label for label in found if label is not None]
        return torch.tensor(known) if len(known) == len(found) else None
    folders = [each.name.partition("/")[0] if "/" in each.name else None for each in images]
    order = {name: i for i, name in enumerate(sorted({name for name in folders if name is not None}))}
    return None if None in folders else torch.tensor([order[str(name)] for name in folders])


def _number(member: _Member) -> int:
    with member.read() as file:
        text = file.read(32)
    if not re.fullmatch(rb"\d{1,9}\s*", text):
        raise InputError(printable(f"{member.archive}:{member.name} holds {text!r}, but it must be a label: 0, 1, …"))
    return int(text)


def _json(member: _Member) -> dict[str, Any]:
    with member.read() as file:
        text = file.read(_MOST + 1)
    try:
        found = json.loads(text) if len(text) <= _MOST else None
    except (ValueError, RecursionError):
        found = None
    labels = found.get("labels") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(isinstance(each, list) and len(each) == 2 for each in labels or []):
        raise InputError(f"{member.archive}:{member.name} is no list of labels as EDM writes it")
    return found
