"""A score model: what the reverse of a process asks of a network, an exact formula or a guided wrapper."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from scoresde.errors import InputError
from scoresde.model.base import Network
from scoresde.param.base import Parameterization
from scoresde.sde.base import GaussianSDE, Process
from scoresde.tensor import expand, time_like

__all__ = ["Cond", "Denoiser", "GaussianPrediction", "Prediction", "ScoreModel", "evaluating"]

Cond = Mapping[str, Tensor]
"""Conditions by name, each of shape (B, ...): ``{"label": …}``."""


class Prediction(Protocol):
    """What a score model says of x at t."""

    @property
    def score(self) -> Tensor:
        """∇ log p_t(x), the shape of x."""

    def shift(self, grad: Tensor) -> "Prediction":
        """The same with score + grad: what guidance does."""


@dataclass(frozen=True, eq=False)
class GaussianPrediction:
    """A prediction under x = α x_0 + s ε, held as x_0, from which score, ε and v follow exactly.

    Args:
        x: noisy data, shape (B, ...).
        x0: E[x_0 | x], the shape of x.
        alpha, std: α_t and s_t, in a shape that broadcasts with x.
    """

    x: Tensor
    x0: Tensor
    alpha: Tensor
    std: Tensor

    @property
    def eps(self) -> Tensor:
        """E[ε | x] = (x − α x_0)/s."""
        return (self.x - self.alpha * self.x0) / self.std

    @property
    def score(self) -> Tensor:
        """∇ log p_t(x) = −ε/s."""
        return -self.eps / self.std

    @property
    def v(self) -> Tensor:
        """α ε − s x_0 (Salimans & Ho 2022)."""
        return self.alpha * self.eps - self.std * self.x0

    def mix(self, on_x: Tensor, on_score: Tensor) -> Tensor:
        """on_x · x + on_score · score, in two passes over the data; the weights broadcast with x."""
        pull = on_score / self.std**2
        mixed, weight = (on_x - pull) * self.x, pull * self.alpha
        if weight.ndim == 0 and weight.device.type == "cpu":  # a number spares a product as large as the data
            return mixed.add_(self.x0, alpha=weight.item())
        return mixed.add_(weight * self.x0)

    def shift(self, grad: Tensor) -> "GaussianPrediction":
        """x_0 + s²/α grad: the prediction whose score is larger by grad."""
        return GaussianPrediction(self.x, self.x0 + self.std**2 / self.alpha * grad, self.alpha, self.std)


class ScoreModel(nn.Module, ABC):
    """∇ log p_t(x) of a process, for every t in [t_min, t_max].

    ``sde`` is the process whose score it is, ``shape`` the shape of one sample, and ``range`` the least and the
    greatest value that data can take, None where it has no bounds.
    """

    sde: Process
    shape: tuple[int, ...]
    range: tuple[float, float] | None = None

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> Prediction:
        """The prediction at a time.

        Args:
            x: noisy data, shape (B, *shape).
            t: time in [t_min, t_max], shape () or (B,).
            cond: what it is conditioned on, by name.
        """

    def check_shape(self, x: Tensor) -> None:
        """Refuse data that is not of shape (B, *shape)."""
        if tuple(x.shape[1:]) != self.shape:
            wanted = ", ".join(map(str, ("B", *self.shape)))
            raise InputError(f"data of shape {tuple(x.shape)} does not fit: the model was made for ({wanted})")


@contextmanager
def evaluating(model: ScoreModel) -> Iterator[None]:
    """In eval mode, whatever mode each module is in, and back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class Denoiser(ScoreModel):
    """A network that denoises: x_0 = skip · x + out · net(inp · x, noise).

    Args:
        net: the network; it sees neither the process nor the parameterization.
        sde: the process that it denoises.
        param: what the network predicts.
        range: the least and the greatest value of the data, None for no bounds.

    Raises:
        InputError: for a process without a Gaussian kernel, or a range that is none.
    """

    def __init__(
        self, net: Network, sde: Process, param: Parameterization, range: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(sde, GaussianSDE):
            raise InputError(f"a denoiser needs a GaussianSDE; {type(sde).__name__} is not one: try sde=vp")
        if range is not None and not (-math.inf < range[0] < range[1] < math.inf):
            raise InputError(f"range = {range}, but it must be two finite numbers, the least first")
        self.net = net
        self.sde: GaussianSDE = sde
        self.param = param
        self.shape = tuple(net.shape)
        self.range = range

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> GaussianPrediction:
        """Denoise.

        Args:
            x: noisy data, shape (B, *shape), in any precision: the network works in its own.
            t: time in [t_min, t_max], shape () or (B,).
            cond: keyword arguments of the network: ``{"label": …}``.

        Raises:
            InputError: for data of another shape, and a time outside the process.
        """
        self.check_shape(x)
        self.sde.check_time(t)
        alpha, std = self.sde.alpha(t), self.sde.std(t)
        scales = self.param.scales(t, alpha, std)
        precision = next(self.net.parameters()).dtype
        noise = time_like(scales.noise, x).to(precision)
        out = self.net((expand(scales.inp, x) * x).to(precision), noise, **(cond or {})).to(x.dtype)
        x0 = (expand(scales.skip, x) * x).add_(expand(scales.out, x) * out)
        return GaussianPrediction(x, x0, expand(alpha, x), expand(std, x))
