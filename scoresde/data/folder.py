"""Images in a folder, with or without class folders."""

import os
from dataclasses import dataclass
from pathlib import Path

from scoresde.data.base import labels
from scoresde.data.encoded.images import Images, Listed
from scoresde.data.encoded.pictures import SUFFIXES
from scoresde.errors import InputError, printable

__all__ = ["Folder"]


@dataclass(frozen=True)
class Folder(Images):
    """Images of a folder and its folders, in the order of their names: x = low + (1 − low) · value/255.

    Where every image lies in a folder of the folder, these are its classes, in the order of their names. Links are
    followed. Files whose names do not end as those of images do, and hidden ones, are passed over.

    Args:
        path: the folder.
        mode, size, low, on_error: as `Images`.

    Raises:
        InputError: as `Images`.
    """

    def _list(self) -> Listed:
        if not self.path:
            raise InputError("data=folder needs a folder of images: data.path=…")
        root = Path(self.path)
        if not root.is_dir():
            raise InputError(f"data.path = {printable(self.path)} is not a folder")
        found, others = _walk(root)
        if not found:
            holds = f"it holds {others} other files" if others else "it is empty"
            raise InputError(f"data.path = {printable(self.path)} holds no images ({' '.join(SUFFIXES)}): {holds}")
        inner = [path.relative_to(root).parts for path in found]
        folders = [parts[0] for parts in inner] if all(len(parts) > 1 for parts in inner) else []
        number = {name: i for i, name in enumerate(sorted(set(folders)))}
        label = labels([number[name] for name in folders], self.path) if folders else None
        return [str(path) for path in found], lambda i: found[i].open("rb"), label


def _walk(root: Path) -> tuple[list[Path], int]:
    """The images, by name, and how many other files there are; a folder that links lead to twice counts once."""
    found, others, seen = list[Path](), 0, {root.resolve()}
    for place, folders, files in os.walk(root, followlinks=True):
        inner = {name: (Path(place) / name).resolve() for name in sorted(folders) if not name.startswith(".")}
        folders[:] = [name for name, real in inner.items() if real not in seen]
        seen |= set(inner.values())
        shown = [name for name in files if not name.startswith(".")]
        images = [name for name in shown if name.lower().endswith(SUFFIXES)]
        found += [Path(place) / name for name in images]
        others += len(shown) - len(images)
    return sorted(path for path in found if path.is_file()), others
