"""Images in a folder, with or without class folders."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from scoresde.data.base import Data
from scoresde.data.encoded.pictures import SUFFIXES, Mode, Pictures
from scoresde.errors import InputError, check, printable, typed

__all__ = ["Folder"]


@dataclass(frozen=True)
class Folder(Data):
    """Images of a folder and its folders, in the order of their names: x = low + (1 − low) · value/255.

    Where every image lies in a folder of the folder, these are its classes, in the order of their names. Files whose
    names do not end as those of images do, and hidden ones, are passed over.

    Args:
        path: the folder.
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
        """The images; their headers are read at the first call, their pixels when they are asked for.

        Raises:
            InputError: for a folder that is not there or holds no images, and for one that cannot be used.
        """
        return self._pictures

    @property
    def range(self) -> tuple[float, float]:  # type: ignore[override]
        """(low, 1)."""
        return self.low, 1.0

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(3, H, W), or (1, H, W) for grey."""
        return self._pictures.shape

    @property
    def classes(self) -> int:  # type: ignore[override]
        """How many folders hold images, 0 where some lie beside the folders."""
        return len(set(self._folders))

    @cached_property
    def _files(self) -> list[Path]:
        if not self.path:
            raise InputError("data=folder needs a folder of images: data.path=…")
        root = Path(self.path)
        if not root.is_dir():
            raise InputError(f"data.path = {printable(self.path)} is not a folder")
        inner = sorted(root.rglob("*"))
        hidden = {path for path in inner if any(part.startswith(".") for part in path.relative_to(root).parts)}
        found = [p for p in inner if p.suffix.lower() in SUFFIXES and p not in hidden and p.is_file()]
        if not found:
            others = sum(path.is_file() for path in inner)
            holds = f"it holds {others} other files" if others else "it is empty"
            raise InputError(f"{printable(self.path)} holds no images ({' '.join(SUFFIXES)}): {holds}")
        return found

    @cached_property
    def _folders(self) -> list[str]:
        """The class folder of each image; empty without classes."""
        inner = [path.relative_to(self.path).parts for path in self._files]
        return [parts[0] for parts in inner] if all(len(parts) > 1 for parts in inner) else []

    @cached_property
    def _pictures(self) -> Pictures:
        files, folders = self._files, self._folders
        number = {name: i for i, name in enumerate(sorted(set(folders)))}
        label = torch.tensor([number[name] for name in folders]) if folders else None
        called = [str(path) for path in files]
        return Pictures(
            called, lambda i: files[i].open("rb"), label, self.mode, self.size, self.low, self.on_error == "skip"
        )
