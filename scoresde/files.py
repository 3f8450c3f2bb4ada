"""Files are written whole or not at all; what is no checkpoint is called what it is."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scoresde.errors import InputError, printable

__all__ = ["SAVED_ANEW", "foreign", "regular", "whole"]

SAVED_ANEW = "load it where it was made, and torch.save its state_dict"


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which takes its place once the block ends well, and vanishes otherwise.

    Args:
        path: where the file is wanted; its folder is made.

    Yields:
        Where to write it: the same suffix, so that libraries that look at it write the right format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def regular(path: Path) -> bool:
    """Whether there is a file at a path.

    Raises:
        InputError: for what is no file of bytes, such as a folder or a pipe, and for a path that cannot be one.
    """
    called = printable(str(path))
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a name that is no text
        raise InputError(f"{called} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{called} is not a file, but a folder, a pipe or a device")
    return True


def foreign(start: bytes) -> str | None:
    """What a file is that is no checkpoint, and what to do; None for what is not known.

    Args:
        start: its first kilobyte.
    """
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "is a web page, not a checkpoint: download the file itself, not the page that links to it"
    if text.startswith(b"version https://git-lfs"):
        real = re.search(rb"size (\d{1,15})", text)
        which = f" to a file of {int(real[1])} bytes" if real else ""
        return f"is a Git LFS pointer{which}, not the file: fetch it with git lfs pull"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "is text, perhaps a server's message, not a checkpoint: download it again"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")):
        return "is compressed: unpack it first"
    if start[257:262] == b"ustar":
        return f"is a tar archive: unpack it first; if torch before 0.2 wrote it, {SAVED_ANEW}"
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file, not a checkpoint of PyTorch"
    return None
