"""DiT, a transformer over the patches of an image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.embedding import Positional, vector
from scoresde.model.layers.heads import attend
from scoresde.model.layers.primitive import linear

__all__ = ["DiT"]


@dataclass(eq=False, repr=False)
class DiT(Network):
    """DiT: patches as tokens with fixed positions, and blocks whose norms and gates the conditions set (adaLN-zero).

    The defaults are DiT-S/2. Width, depth and heads are 384, 12, 6 in S; 768, 12, 12 in B; 1024, 24, 16 in L; and
    1152, 28, 16 in XL.

    Args:
        patch: the side of a patch.
        width: of a token, a multiple of 4 and of ``heads``.
        depth: how many blocks.
        heads: of the attention.
        mlp_ratio: the hidden width of a block's MLP over ``width``.
        mlp_eps: ε of the norm before the MLP; diffusers gives its copies of the paper's weights 1e-5.
        frequency_shift: 0 for the paper's features of the noise level, 1 for those of diffusers' copies.
        learned_variance: whether the head writes a variance beside the output, as the paper's; it is dropped.

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, H, W) or that patches do not fill.

    Source: Peebles & Xie 2023, "Scalable diffusion models with transformers", section 3.2, table 1 and official code.
    """

    patch: int = 2
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    mlp_eps: float = 1e-6
    frequency_shift: int = 0
    learned_variance: bool = False

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        image, height, width = self.shape
        self.outputs = 2 * image if self.learned_variance else image
        self.stem = nn.Conv2d(image, self.width, self.patch, self.patch)
        nn.init.xavier_uniform_(self.stem.weight.view(self.width, -1))  # as a dense map of the patch
        assert self.stem.bias is not None
        nn.init.zeros_(self.stem.bias)
        positions = _positions(self.width, height // self.patch, width // self.patch)
        self.positions: Tensor
        self.register_buffer("positions", positions, persistent=False)
        self.condition = _Condition(self.width, self.classes, self.embedding, self.frequency_shift)
        self.blocks = nn.ModuleList(
            _Block(self.width, self.heads, self.mlp_ratio, self.mlp_eps, self.tokens) for _ in range(self.depth)
        )
        self.modulation = linear(self.width, 2 * self.width, scale=0.0)
        self.head = linear(self.width, self.patch**2 * self.outputs, scale=0.0)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        *,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """As `Network`."""
        self.check_input(x, noise, label, embedding, tokens)
        emb = self.condition(noise, label, embedding)
        h = self.stem(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, emb, tokens)
        shift, scale = self.modulation(emb)[:, None].chunk(2, dim=2)
        h = self.head(_norm(h) * (1 + scale) + shift)
        # a token is its patch's rows, columns, channels
        rows, columns = (size // self.patch for size in self.shape[1:])
        h = h.unflatten(2, (self.patch, self.patch, self.outputs)).unflatten(1, (rows, columns))
        h = h[..., : self.shape[0]].permute(0, 5, 1, 3, 2, 4)
        return h.reshape(x.shape)

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        for field in ("patch", "depth", "heads"):
            check(self, field, getattr(self, field) > 0, "a number > 0")
        divides = self.width > 0 and self.width % 4 == 0 and self.width % self.heads == 0
        check(self, "width", divides, f"a multiple of 4 and of its {self.heads} heads")
        check(self, "mlp_ratio", 1 <= self.mlp_ratio * self.width < float("inf"), "a number of at least 1/width")
        check(self, "frequency_shift", self.frequency_shift in (0, 1), "0 or 1")
        check(self, "mlp_eps", 0 < self.mlp_eps < 1, "in (0, 1)")
        self.check_divides(self.patch, f"with patches of {self.patch}", "another patch")


class _Condition(nn.Module):
    """silu(W₂ silu(W₁ features) + label + E embedding); the last row of the labels is that of none."""

    def __init__(self, width: int, classes: int, embedding: int, shift: int) -> None:
        super().__init__()
        self.features = Positional(256, shift=shift, cosine_first=True)
        self.first, self.second = linear(256, width), linear(width, width)
        nn.init.normal_(self.first.weight, std=0.02)
        nn.init.normal_(self.second.weight, std=0.02)
        self.label = nn.Embedding(classes + 1, width) if classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.02)
        self.vector = vector(embedding, width)

    def forward(self, noise: Tensor, label: Tensor | None, embedding: Tensor | None) -> Tensor:
        h = self.second(F.silu(self.first(self.features(noise))))
        if self.label is not None:
            none = self.label.num_embeddings - 1
            h = h + (self.label.weight[none] if label is None else self.label(label.where(label >= 0, none)))
        if self.vector is not None and embedding is not None:
            h = h + self.vector(embedding.to(h.dtype))
        return F.silu(h)


class _Block(nn.Module):
    """Attention and an MLP, each between a norm that the conditions shift and scale, and a gate that starts at 0."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, mlp_eps: float, tokens: int) -> None:
        super().__init__()
        self.heads, self.mlp_eps = heads, mlp_eps
        hidden = int(width * mlp_ratio)
        self.modulation = linear(width, 6 * width, scale=0.0)
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        self.first, self.second = linear(width, hidden), linear(hidden, width)
        self.cross = CrossAttention(width, tokens, last=True) if tokens else None

    def forward(self, h: Tensor, emb: Tensor, tokens: Tensor | None) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulation(emb)[:, None].chunk(6, dim=2)
        h = h + gate * self._attend(_norm(h) * (1 + scale) + shift)
        if self.cross is not None:
            h = self.cross(h, tokens)
        inner = self.first(_norm(h, self.mlp_eps) * (1 + mlp_scale) + mlp_shift)
        return h + mlp_gate * self.second(F.gelu(inner, approximate="tanh"))

    def _attend(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 4, 1)
        return self.out(attend(q, k, v).flatten(1, 2).transpose(1, 2))


def _norm(h: Tensor, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(h, h.shape[-1:], eps=eps)


def _positions(width: int, rows: int, columns: int) -> Tensor:
    """Sines and cosines of a patch's column, then of its row, shape (rows·columns, width)."""
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = (torch.arange(n, dtype=torch.float64)[:, None] * frequencies for n in (rows, columns))
    across = torch.cat([column.sin(), column.cos()], dim=1).expand(rows, -1, -1)
    down = torch.cat([row.sin(), row.cos()], dim=1)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=2).flatten(0, 1).to(torch.get_default_dtype())
