"""What data sets of image files have in common."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Literal

from torch import Tensor

from scoresde.data.base import Data
from scoresde.data.encoded.pictures import Mode, Pictures
from scoresde.errors import check, typed

__all__ = ["Images", "Listed"]

Listed = tuple[list[str], Callable[[int], IO[bytes]], Tensor | None]
"""The names of images, what opens the i-th, and their labels or None."""


@dataclass(frozen=True)
class Images(Data):
    """Images in files.

    Args:
        path: where they are.
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

    @abstractmethod
    def _list(self) -> Listed:
        """Find the images."""

    def load(self) -> Pictures:
        """The images; their headers are read at the first call, their pixels when they are asked for.

        Raises:
            InputError: for a path that is not there or holds no images, and for one that cannot be used.
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
        """One more than the greatest label, 0 without labels."""
        label = self._listed[2]
        return 0 if label is None else int(label.max()) + 1

    @cached_property
    def _listed(self) -> Listed:
        return self._list()

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(*self._listed, self.mode, self.size, self.low, self.on_error == "skip")
