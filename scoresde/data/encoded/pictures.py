"""Images in files, decoded when they are asked for."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoresde.data.base import Samples, Source
from scoresde.errors import Assumed, InputError, printable

__all__ = ["SUFFIXES", "Mode", "Pictures"]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""How the names of images end."""

Mode = Literal["RGB", "L"]
"""Eight bits for each of three colours, or eight bits of grey."""

_BLOCK = 4096
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class Pictures(Source):
    """Images in files: x = low + (1 − low) · value/255, shape (3, H, W) for RGB and (1, H, W) for grey.

    All headers are read at once, so that what does not belong is refused before anything starts; pixels when they are
    asked for, by several threads. An image lies as its EXIF entry says.

    Args:
        called: the name of each file, as messages say it.
        read: opens the i-th, from any thread.
        label: the labels, int64, shape (N,), or None.
        mode: what every image must be.
        size: 0 takes images as large as they are, all of one size; else the middle square is cut out and resized to
            size × size by Pillow's Lanczos filter.
        low: what black becomes; white is 1.
        skip: whether images that cannot be used are left out, with a note, or refused. One whose pixels turn out to be
            broken is then replaced by the next.

    Raises:
        InputError: for no image, and without ``skip`` for the first that cannot be used.
    """

    def __init__(
        self,
        called: Sequence[str],
        read: Callable[[int], IO[bytes]],
        label: Tensor | None,
        mode: Mode,
        size: int,
        low: float,
        skip: bool,
    ) -> None:
        self._called, self._read, self._mode, self._size, self._skip = called, read, mode, size, skip
        self._low, self.spacing = low, (1 - low) / 255
        self._threads = min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, "decode")
        self._broken = set[int]()
        first, kept, wrong = None, [], []
        for i, (found, reason) in enumerate(self._headers(len(called))):
            if found is not None and first is None:
                first = i, found
            if found is not None and first is not None and found != first[1]:
                theirs, ours = ("{1} × {0}".format(*each) for each in (first[1], found))
                reason = f"is {ours}, and {called[first[0]]} is {theirs}: all must be of one size, or give data.size=…"
            if reason:
                wrong.append((i, reason))
                if not skip:
                    raise self._refusal(i, reason)
            else:
                kept.append(i)
        if first is None:
            raise InputError(
                printable(f"of {len(called)} images none can be used: {called[wrong[0][0]]} {wrong[0][1]}")
            )
        self._good = kept
        self._label = None if label is None else label[kept]
        self.shape = (3 if mode == "RGB" else 1, *first[1])
        if wrong:
            warnings.warn(
                f"{len(wrong)} of {len(called)} images are skipped, the first because "
                + printable(f"{called[wrong[0][0]]} {wrong[0][1]}"),
                Assumed,
                stacklevel=2,
            )

    def __len__(self) -> int:
        return len(self._good)

    def take(self, rows: Tensor) -> Samples:
        """Decode some of the images; see `Source`.

        Raises:
            InputError: for an image whose pixels cannot be decoded.
        """
        # a share for each thread: a task for each image would take longer to hand out than the image to decode
        shares = [rows[i :: self._threads].tolist() for i in range(self._threads)]
        decoded = list(self._pool.map(lambda share: [self._decode(row) for row in share], shares))
        found = [decoded[i % self._threads][i // self._threads] for i in range(len(rows))]
        pixels = torch.from_numpy(np.stack([pixels for pixels, _ in found]))
        label = None if self._label is None else self._label[torch.tensor([row for _, row in found])]
        return Samples(pixels.movedim(-1, 1).float().mul_(self.spacing).add_(self._low).contiguous(), label)

    def _headers(self, count: int) -> Iterator[tuple[tuple[int, int] | None, str]]:
        """All headers, in blocks: futures of millions of images would fill the memory."""
        for start in range(0, count, _BLOCK):
            yield from self._pool.map(self._header, range(start, min(start + _BLOCK, count)))

    def _header(self, i: int) -> tuple[tuple[int, int] | None, str]:
        """Height and width after loading, and what is wrong."""
        try:
            with _opened(self._read, i) as image:
                reason = _unfit(image, self._mode)
                width, height = image.size
                # of a PNG whose entry comes late Pillow would decode the whole to find it
                late = image.format == "PNG" and "exif" not in image.info
                # of a TIFF the size is told upright already
                if image.format != "TIFF" and not late and image.getexif().get(0x112) in _TURNED:
                    width, height = height, width
        except _Broken as error:
            return None, str(error)
        return (None if reason else (self._size, self._size) if self._size else (height, width)), reason

    def _decode(self, row: int) -> tuple[NDArray[np.uint8], int]:
        """Pixels (H, W, C) of a row, or of the next that has some, and which it is."""
        for step in range(len(self)):
            at = (row + step) % len(self)
            i = self._good[at]
            try:
                with _opened(self._read, i) as image:
                    return self._pixels(image), at
            except _Broken as error:
                if not self._skip:
                    raise self._refusal(i, str(error)) from None
                if i not in self._broken:
                    self._broken.add(i)
                    warnings.warn(
                        printable(
                            f"{len(self._broken)} of {len(self)} images skipped so far: {self._called[i]} {error}"
                        ),
                        Assumed,
                        stacklevel=2,
                    )
        called = self._called[self._good[row]]
        raise InputError(printable(f"none of {len(self)} images can be decoded, such as {called}"))

    def _pixels(self, image: Any) -> NDArray[np.uint8]:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(image)
        if self._size and image.size != (self._size, self._size):
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            square = image.crop((left, top, left + side, top + side))  # first: a filter would look beyond its edge
            image = square.resize((self._size, self._size), Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        if (pixels.shape[2], *pixels.shape[:2]) != self.shape:
            raise ValueError(f"its shape is {pixels.shape} where its header promised another")
        return pixels

    def _refusal(self, i: int, reason: str) -> InputError:
        return InputError(printable(f"{self._called[i]} {reason}; to leave such images out: data.on_error=skip"))


class _Broken(ValueError):
    """What is wrong with a file, to follow its name."""


@contextmanager
def _opened(read: Callable[[int], IO[bytes]], i: int) -> Iterator[Any]:
    """The i-th image while it is read; whatever is wrong with it is `_Broken`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with read(i) as file, Image.open(file) as image:
            yield image
    except UnidentifiedImageError:
        raise _Broken("is no image that Pillow knows") from None
    except Exception as error:  # decoders and archives fed with anything each fail in their own way
        raise _Broken(f"cannot be decoded: {error}") from None


def _unfit(image: Any, mode: Mode) -> str:
    """What is wrong with an image as its header tells it; empty for one that fits."""
    stored = [str(tile[3]) for tile in image.tile]  # Pillow cuts 16 bits of colour to 8 in silence
    has = "16-bit" if any("16" in args for args in stored) else _KINDS.get(image.mode, image.mode)
    if any(tile[0].startswith("ppm") for tile in image.tile):  # plain ones of 255 are read raw
        has = "of other than 256 levels"
    if "transparency" in image.info:
        has = "with transparency"
    wanted = _KINDS[mode]
    if has != wanted:
        other = next((m for m, kind in _KINDS.items() if kind == has and m in ("RGB", "L")), None)
        return f"is {has}, and data.mode={mode} takes {wanted}" + (f": try data.mode={other}" if other else "")
    if getattr(image, "n_frames", 1) > 1:
        return f"holds {image.n_frames} frames, and a sample is one"
    return ""


_KINDS = {
    "RGB": "8-bit RGB",
    "L": "8-bit grey",
    "1": "black and white",
    "P": "of a palette",
    "RGBA": "RGB with transparency",
    "LA": "grey with transparency",
    "CMYK": "CMYK",
    "I;16": "16-bit",
    "I;16B": "16-bit",
    "I": "32-bit",
    "F": "of floating point",
}
