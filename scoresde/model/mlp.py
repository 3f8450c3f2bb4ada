"""A residual MLP, for points and data of any shape."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.embedding import Condition, Fourier
from scoresde.model.layers.primitive import linear

__all__ = ["MLP"]


@dataclass(eq=False, repr=False)
class MLP(Network):
    """A residual MLP for points and data of any shape, which it flattens: h ← h + W₂ silu(W₁ silu(h) + W emb).

    Args:
        width: of the layers.
        depth: how many residual blocks.
        dropout: probability in [0, 1).
        fourier_scale: standard deviation of the noise features' frequencies; small is smooth.

    Raises:
        InputError: for a field out of range.

    Source: the block is that of Ho et al. 2020 without its images; the noise features are those of
    Song et al. 2021, appendix C.2.
    """

    width: int = 256
    depth: int = 4
    dropout: float = 0.0
    fourier_scale: float = 0.25

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        check(self, "width", self.width > 0, "a number > 0")
        check(self, "depth", self.depth > 0, "a number > 0")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        check(self, "fourier_scale", self.fourier_scale > 0, "a number > 0")
        size = 1
        for length in self.shape:
            size *= length
        self.condition = Condition(Fourier(64, self.fourier_scale), self.width, self.classes)
        self.stem = linear(size, self.width)
        self.blocks = nn.ModuleList(_Block(self.width, self.dropout) for _ in range(self.depth))
        self.head = linear(self.width, size, scale=0.0)

    def forward(self, x: Tensor, noise: Tensor, *, label: Tensor | None = None) -> Tensor:
        """As `Network`."""
        self.check_input(x, noise, label)
        emb = self.condition(noise, label)
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = block(h, emb)
        return self.head(F.silu(h)).reshape(x.shape)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = linear(width, width), linear(width, width)
        self.embed = linear(width, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        inner = F.silu(self.first(F.silu(h)) + self.embed(emb))
        return h + self.second(self.dropout(inner))
