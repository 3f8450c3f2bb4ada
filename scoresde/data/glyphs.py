"""Coloured characters at any place, size and angle, drawn as they are asked for, with a caption each."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_letters, digits
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scoresde.data.base import Data, Samples, Source
from scoresde.errors import check, typed
from scoresde.noise import philox

__all__ = ["Glyphs"]

_CHARACTERS = digits + ascii_letters
_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
)  # fmt: skip
_COLORS = {
    "red": (230, 50, 40), "orange": (250, 150, 30), "yellow": (245, 225, 50), "green": (60, 180, 75),
    "cyan": (70, 210, 220), "blue": (60, 100, 240), "purple": (160, 70, 200), "white": (255, 255, 255),
}  # fmt: skip
_SCALES = {"small": 0.4, "medium-sized": 0.6, "large": 0.85}  # of the letter's body to the image
_ACROSS, _DOWN = ("left", "", "right"), ("top", "", "bottom")


@dataclass(frozen=True)
class Glyphs(Data):
    """One character on black: any of 62, in eight fonts, eight colours and three sizes, half of them turned.

    x has shape (3, size, size), or (1, size, size) without colour, values in [−1, 1]; the label is the character's
    number in 0…9a…zA…Z. The i-th image is a function of (seed, i), whatever n is. ``load().captions(rows)`` says in
    words what is there: ``a small red rotated g, top left``.

    Args:
        size: of the image, in [8, 1024].
        color: whether there is any.
        n: how many there are, in [1, 2²⁴].
        seed: a whole number in [0, 2³²).

    Raises:
        InputError: for a value out of range.
    """

    size: int = 32
    color: bool = True
    n: int = 100_000
    seed: int = 0

    range = (-1.0, 1.0)
    classes = len(_CHARACTERS)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        typed(self)
        check(self, "size", 8 <= self.size <= 1024, "a whole number in [8, 1024]")
        check(self, "n", 1 <= self.n <= 2**24, "a whole number in [1, 2**24]")
        check(self, "seed", 0 <= self.seed < 2**32, "a whole number in [0, 2**32)")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(3, size, size), or (1, size, size) without colour."""
        return (3 if self.color else 1, self.size, self.size)

    def load(self) -> "_Drawn":
        """The images, drawn when they are asked for."""
        return _Drawn(self)


class _Glyph(NamedTuple):
    """What an image shows; the place is in [0, 1]² of where it fits."""

    character: str
    font: str
    color: str
    scale: str
    angle: float
    place: tuple[float, float]


class _Drawn(Source):
    """Images that are drawn when they are asked for."""

    spacing = 2 / 255

    def __init__(self, how: Glyphs) -> None:
        self._how = how

    def __len__(self) -> int:
        return self._how.n

    def take(self, rows: Tensor) -> Samples:
        """Draw some of the images; see `Source`."""
        glyphs = self._glyphs(rows)
        pixels = torch.stack([self._draw(glyph) for glyph in glyphs])
        label = torch.tensor([_CHARACTERS.index(glyph.character) for glyph in glyphs])
        return Samples(pixels.movedim(-1, 1).float().div_(127.5).sub_(1).contiguous(), label)

    def captions(self, rows: Tensor) -> list[str]:
        """What some of the images show, in words."""
        return [_caption(glyph, self._how.color) for glyph in self._glyphs(rows)]

    def _glyphs(self, rows: Tensor) -> list[_Glyph]:
        blocks, none = torch.arange(2), torch.zeros(1, dtype=torch.int64)
        words = philox((blocks, none, rows[:, None], none), (self._how.seed, 0x676C7970))
        uniform = torch.stack(words, -1).reshape(len(rows), 8).double() / 2**32
        found = []
        for character, font, color, scale, turned, angle, across, down in uniform.tolist():
            turn = (20 + 50 * abs(2 * angle - 1)) * math.copysign(1, angle - 0.5) if turned < 0.5 else 0.0
            found.append(
                _Glyph(
                    _CHARACTERS[int(character * len(_CHARACTERS))],
                    _FONTS[int(font * len(_FONTS))],
                    list(_COLORS)[int(color * len(_COLORS))],
                    list(_SCALES)[int(scale * len(_SCALES))],
                    turn,
                    (across, down),
                )
            )
        return found

    def _draw(self, glyph: _Glyph) -> Tensor:
        """Bytes, shape (size, size, 3 or 1)."""
        from PIL import Image, ImageDraw

        size = self._how.size
        canvas = Image.new("L", (2 * size, 2 * size))
        font = _font(glyph.font, round(_SCALES[glyph.scale] * size))
        ImageDraw.Draw(canvas).text((size, size), glyph.character, fill=255, font=font, anchor="mm")
        if glyph.angle:
            canvas = canvas.rotate(glyph.angle, Image.Resampling.BICUBIC)
        ink = canvas.crop(canvas.getbbox())
        if max(ink.size) > size:
            ink.thumbnail((size, size), Image.Resampling.LANCZOS)
        image = Image.new("L", (size, size))
        left, top = (round(at * (size - length)) for at, length in zip(glyph.place, ink.size, strict=True))
        image.paste(ink, (left, top))
        shade = torch.from_numpy(np.array(image))[:, :, None]
        if not self._how.color:
            return shade
        return (shade.int() * torch.tensor(_COLORS[glyph.color]) // 255).to(torch.uint8)


@cache
def _font(name: str, size: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", max(size, 4))


def _caption(glyph: _Glyph, color: bool) -> str:
    words = ["a", glyph.scale, glyph.color if color else "", "rotated" if glyph.angle else "", glyph.character]
    across, down = (min(int(3 * at), 2) for at in glyph.place)
    where = f"{_DOWN[down]} {_ACROSS[across]}".strip() or "centre"
    return f"{' '.join(filter(None, words))}, {where}"
