"""Files are written whole or not at all, and only what is a file is read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scoresde.errors import InputError, printable

__all__ = ["regular", "whole"]


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
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The names in a folder, to disk: else a machine that fails may come back with the old file, or with neither."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
