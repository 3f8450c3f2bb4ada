"""The conventions of published checkpoints: what the network says, what it is fed, and the number it is told."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["Published"]


@dataclass(frozen=True)
class Published(Parameterization):
    """Every family of published networks as one choice of target, input and clock.

    The network reads noise = factor·u + offset, where u is ¼ log(s/α) or the process's time. Our sinusoidal features
    multiply it by 250 and our Fourier features by 4, so that a network that was trained on i = 999·t has
    factor = 999/250, and one that was trained on log(s/α) has factor = 1.

    Args:
        target: what the raw output is: ε, −ε (which is s·score), the score, x_0, or v = α ε − s x_0.
        scaled: whether the network is fed x/√(α² + s²), or x itself.
        clock: what u is.
        factor: ≠ 0.
        offset: of the noise level.
        step: > 0 where the network was trained at multiples of it only: it is then told the nearest, and an ε is taken
            as that level's, so that the score is −ε over the deviation there; 0 where any level will do. Sinusoidal
            features of whole numbers have step = 1/250. With clock=time only what the network is told is rounded.

    Raises:
        InputError: for a value out of range.

    Source: Ho et al. 2020 (ε, 1000·t); Song et al. 2021, official code, `get_score_fn` (VP: ε and 999·t; VE: s·score
    and log s, or the index of s); Karras et al. 2022, table 1 (VP, VE, iDDPM columns).
    """

    target: Literal["eps", "minus_eps", "score", "x0", "v"] = "eps"
    scaled: bool = True
    clock: Literal["log_snr", "time"] = "log_snr"
    factor: float = 1.0
    offset: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no clock."""
        typed(self)
        check(self, "factor", 0 < abs(self.factor) < float("inf"), "a number other than 0")
        check(self, "offset", abs(self.offset) < float("inf"), "a number")
        check(self, "step", 0 <= self.step < float("inf"), "a number >= 0")

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """Those of `target`, and the clock's number in float64 where the device has it: an index is a large number."""
        wide = t.dtype if t.device.type == "mps" else torch.float64
        level = t.to(wide) if self.clock == "time" else c_noise(alpha.to(wide), std.to(wide))
        noise = self.factor * level + self.offset
        told = noise if self.step == 0 else (noise / self.step).round() * self.step
        square = alpha**2 + std**2
        inp = square.rsqrt() if self.scaled else torch.ones_like(alpha)
        if self.target == "x0":
            return Scales(inp, torch.zeros_like(alpha), torch.ones_like(alpha), told)
        if self.target == "v":
            return Scales(inp, alpha / square, -std / square, told)
        if self.target == "score":
            return Scales(inp, 1 / alpha, std**2 / alpha, told)
        out = std / alpha
        if self.step and self.clock == "log_snr":  # s/α over that of the level that the network was told
            out = out * (4 * (noise - told) / self.factor).exp().to(out.dtype)
        return Scales(inp, 1 / alpha, -out if self.target == "eps" else out, told)
