"""Images in zip or tar files: EDM's data sets, WebDataset shards."""

import io
import json
import os
import posixpath
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from scoresde.data.base import labels
from scoresde.data.encoded.images import Images, Listed
from scoresde.data.encoded.pictures import SUFFIXES
from scoresde.errors import InputError, printable

__all__ = ["Archive"]

_MOST = 2**28  # bytes of labels


@dataclass(frozen=True)
class Archive(Images):
    """Images of archives, in the order of their names: x = low + (1 − low) · value/255. Nothing is unpacked.

    A label is the number in the ``.cls`` file of the image's name (WebDataset), or in ``dataset.json`` (EDM); where
    there is neither, and all images lie in folders, the number of the first of these. Hidden files are passed over.

    Args:
        path: a .zip or an uncompressed .tar, or several: ``shards/part-*.tar``.
        mode, size, low, on_error: as `Images`.

    Raises:
        InputError: as `Images`.
    """

    def _list(self) -> Listed:
        members = [_Member(path, name, read) for path in self._paths() for name, read in _members(path)]
        images = [member for member in members if member.name.lower().endswith(SUFFIXES)]
        if not images:
            raise InputError(f"data.path = {printable(self.path)} holds no images ({' '.join(SUFFIXES)})")
        return [each.called for each in images], lambda i: images[i].read(), _labels(images, members, self.path)

    def _paths(self) -> list[Path]:
        if not self.path:
            raise InputError("data=archive needs a .zip or .tar of images: data.path=…")
        path = Path(self.path)
        found = [path] if path.is_file() else sorted(path.parent.glob(path.name)) if path.name else []
        if not found or path.is_dir():
            raise InputError(f"data.path = {printable(self.path)}: there is no such file")
        return found


@dataclass(frozen=True)
class _Member:
    """A file in an archive."""

    archive: Path
    name: str
    read: Callable[[], IO[bytes]]

    @property
    def called(self) -> str:
        """As messages say it."""
        return f"{self.archive}:{self.name}"

    @property
    def stem(self) -> tuple[Path, str]:
        """What the files of one sample share: all up to the first dot of the last part."""
        folder, _, last = self.name.rpartition("/")
        return self.archive, f"{folder}/{last.partition('.')[0]}"


def _members(path: Path) -> list[tuple[str, Callable[[], IO[bytes]]]]:
    """Names and readers of an archive's files, by name; each can be read from any thread."""
    found: dict[str, Callable[[], IO[bytes]]] = {}
    try:
        if zipfile.is_zipfile(path):
            file = zipfile.ZipFile(path)
            found = {each.filename: partial(file.open, each) for each in file.infolist() if not each.is_dir()}
        else:
            handle = path.open("rb")
            with tarfile.open(path, "r:") as tar:
                for each in tar:
                    if each.issym() or each.islnk():
                        raise InputError(printable(f"{path}:{each.name} is a link: pack the files themselves"))
                    if each.isreg():
                        found[each.name] = partial(_slice, handle, each.offset_data, each.size)
    except (tarfile.TarError, zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        packed = ": if it is compressed, unpack it to a plain .tar, which can be read at any place"
        raise InputError(f"{printable(str(path))} is no .zip or plain .tar ({error}){packed}") from None
    named = {posixpath.normpath(name): read for name, read in found.items()}
    return sorted((name, read) for name, read in named.items() if not _hidden(name))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _slice(handle: IO[bytes], start: int, size: int) -> IO[bytes]:
    return io.BytesIO(os.pread(handle.fileno(), size, start))


def _labels(images: list[_Member], members: list[_Member], path: str) -> Tensor | None:
    """A number for each image; None where there are none, or not one for each."""
    numbers: dict[Any, Any] = {}
    said = False
    for member in members:
        if member.name.endswith(".cls"):
            numbers[member.stem], said = _number(member), True
        elif member.name == "dataset.json":
            numbers |= {(member.archive, posixpath.normpath(name)): label for name, label in _listed(member)}
            said = True
    if said:
        found = [numbers.get(each.stem, numbers.get((each.archive, each.name))) for each in images]
        return labels(found, path) if found.count(None) == 0 else None
    folders = [each.name.partition("/")[0] for each in images if "/" in each.name]
    order = {name: i for i, name in enumerate(sorted(set(folders)))}
    return labels([order[name] for name in folders], path) if len(folders) == len(images) else None


def _read(member: _Member, most: int) -> bytes:
    try:
        with member.read() as file:
            return file.read(most)
    except Exception as error:  # an archive may be damaged in many ways
        raise InputError(printable(f"{member.called} cannot be read: {error}")) from None


def _number(member: _Member) -> int:
    text = _read(member, 32)
    if not re.fullmatch(rb"\d{1,9}\s*", text):
        raise InputError(printable(f"{member.called} holds {text!r}, but it must be a label: 0, 1, …"))
    return int(text)


def _listed(member: _Member) -> list[tuple[str, Any]]:
    """The names and labels of a dataset.json."""
    text = _read(member, _MOST + 1)
    try:
        found = json.loads(text) if len(text) <= _MOST else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("labels"), list | None):
        pairs = found.get("labels") or []
        if all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in pairs):
            return [(name, label) for name, label in pairs]
    raise InputError(printable(f"{member.called} is no list of labels as EDM writes it"))
