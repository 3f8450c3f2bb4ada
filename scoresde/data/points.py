"""Points of the plane: moons, a Swiss roll, a checkerboard, rings, and Gaussian mixtures whose score is known."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scoresde.analytic import GaussianMixture
from scoresde.data.base import Data, Samples
from scoresde.errors import InputError, check, typed
from scoresde.noise import Noise
from scoresde.sde.base import Process
from scoresde.sde.vp import VP

__all__ = ["Points"]

_MIXTURES = ("eight_gaussians", "mixture")


@dataclass(frozen=True)
class Points(Data):
    """Independent draws of a law in the plane, of mean 0 and, averaged over the two coordinates, of variance 1.

    Both hold for the law, within 2 %, and for a finite draw up to chance: a draw is not standardised by itself, so that
    two seeds are two draws of the same law. There are no labels.

    Args:
        kind: ``moons``, two half circles, and ``swiss_roll``, a spiral (scikit-learn's, with noise); ``checkerboard``,
            the uniform law on eight squares of a 4×4 board; ``rings``, three noisy circles, uniform along them;
            ``eight_gaussians``, on a circle; ``mixture``, three Gaussians of unlike weights and shapes.
        n: how many points, ≥ 1.
        seed: a whole number in [0, 2³²).

    Raises:
        InputError: for a value out of range.
    """

    kind: Literal["moons", "swiss_roll", "checkerboard", "rings", "eight_gaussians", "mixture"] = "moons"
    n: int = 10_000
    seed: int = 0

    shape = (2,)

    def __post_init__(self) -> None:
        """Refuse a law that does not exist and a size or a seed that is none."""
        typed(self)
        check(self, "n", self.n >= 1, "a whole number >= 1")
        check(self, "seed", 0 <= self.seed < 2**32, "a whole number in [0, 2**32)")

    def load(self) -> Samples:
        """All points: x of shape (n, 2), label None."""
        if self.kind in _MIXTURES:
            x = self.mixture(VP()).draw(self._noise())  # the law at t = 0 is the same under every process
        else:
            x = {"moons": _moons, "swiss_roll": _swiss_roll, "checkerboard": _checkerboard, "rings": _rings}[self.kind](
                self
            )
        return Samples(x.float(), None)

    def mixture(self, sde: Process) -> GaussianMixture:
        """The exact score model of the law under a process, for the kinds that are Gaussian mixtures.

        Args:
            sde: the process, a GaussianSDE.

        Returns:
            The model; its p_0 is the law that `load` draws from.

        Raises:
            InputError: for a kind that is no mixture, or a process without a Gaussian kernel.
        """
        if self.kind == "eight_gaussians":
            angle = torch.arange(8) * (math.pi / 4)
            return GaussianMixture(sde, 1.4 * torch.stack([angle.cos(), angle.sin()], -1), 0.1**2)
        if self.kind == "mixture":
            means = torch.tensor([[-0.8, -0.4], [1.2, -0.4], [0.2, 1.6]])
            covs = torch.tensor([[[0.3, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.5]], [[0.4, -0.1], [-0.1, 0.1]]])
            return GaussianMixture(sde, means, covs, torch.tensor([0.5, 0.3, 0.2]))
        raise InputError(
            f"the score of kind={self.kind} is not known in closed form: try kind={' or '.join(_MIXTURES)}"
        )

    def _noise(self) -> Noise:
        return Noise(self.seed, (self.n, 2), first=2**62)  # streams that no sampler reads, whatever its seed


def _moons(points: Points) -> Tensor:
    from sklearn.datasets import make_moons

    x, _ = make_moons(points.n, noise=0.05, random_state=points.seed)
    return (torch.as_tensor(x) - torch.tensor([0.5, 0.25])) * math.sqrt(2)  # variances ¾ and ¼


def _swiss_roll(points: Points) -> Tensor:
    from sklearn.datasets import make_swiss_roll

    x, _ = make_swiss_roll(points.n, noise=0.5, random_state=points.seed)
    # (r cos r, r sin r) with r uniform on [3π/2, 9π/2]: E r² = 39π²/4
    return (torch.as_tensor(x[:, [0, 2]]) - torch.tensor([2.0, 2 / (3 * math.pi)])) / 6.8


def _checkerboard(points: Points) -> Tensor:
    u, v = points._noise().uniform((2,)).mul(torch.tensor([4.0, 2.0])).unbind(-1)
    board = torch.stack([u, v + v.floor() + u.floor() % 2], -1)
    return (board - 2) * (math.sqrt(3) / 2)  # a side of length ℓ has variance ℓ²/12


def _rings(points: Points) -> Tensor:
    noise = points._noise()
    which, turn = noise.uniform((2,)).unbind(-1)
    radius = 1 + (which > 1 / 6).float() + (which > 1 / 2).float()  # 1, 2, 3 as often as they are long: E r² = 6
    angle = 2 * math.pi * turn
    circles = radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1) / math.sqrt(3)
    return circles + 0.05 * noise.normal()
