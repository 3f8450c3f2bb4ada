"""A score model: what the reverse of a process asks of a network, an exact formula or a guided wrapper."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from scoresde.errors import InputError, nearest
from scoresde.model.base import Network
from scoresde.param.base import Parameterization
from scoresde.sde.base import GaussianSDE, Process
from scoresde.tensor import expand, time_like

__all__ = ["Cond", "Denoiser", "GaussianPrediction", "Prediction", "Retimed", "ScoreModel", "evaluating"]

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

    def on(self, process: GaussianSDE) -> "Retimed":
        """The same score on another process: ``model.on(VP())``.

        Args:
            process: whose x_t the result takes and whose times it reads.

        Raises:
            InputError: where one of the two has no Gaussian kernel.
        """
        return Retimed(self, process)

    def check_cond(self, n: int, cond: Cond) -> None:
        """Refuse conditions of n samples that the model cannot take; it may look at values, so call it once a run.

        Raises:
            InputError: for a condition that it does not know, and one of another shape or out of range.
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

    def check_cond(self, n: int, cond: Cond) -> None:
        """As `ScoreModel`: conditions are the network's."""
        for name in cond.keys() - {"label", "embedding", "tokens"}:
            raise InputError(f"networks know no condition {name!r}: {nearest(name, ['label', 'embedding', 'tokens'])}")
        self.net.check_conditions(n, **cond)
        if "label" in cond:
            label, classes = cond["label"], self.net.classes
            if label.is_floating_point() or not ((label >= -1) & (label < classes)).all():
                some = label.tolist()[:8]
                raise InputError(f"label must be whole numbers in [0, {classes}), or -1 for none, not {some}")

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
        if t.device.type != "mps":  # which has no doubles
            t = t.double()
        alpha, std = self.sde.alpha(t), self.sde.std(t)
        scales = self.param.scales(t, alpha, std)
        precision = next(self.net.parameters()).dtype
        # in double precision where there is any: the features of an index near 1,000 show the last bits of a float32
        noise = time_like(scales.noise, x, torch.float32 if x.device.type == "mps" else torch.float64)
        out = self.net((expand(scales.inp, x) * x).to(precision), noise, **(cond or {})).to(x.dtype)
        x0 = (expand(scales.skip, x) * x).add_(expand(scales.out, x) * out)
        return GaussianPrediction(x, x0, expand(alpha, x), expand(std, x))


class Retimed(ScoreModel):
    """A score of one Gaussian process as another's: x_0(x, t) = x_0'(x α'/α, t') where both have one log-SNR.

    Where the new process has less noise than the model knows, or more, its nearest time answers, of x at the scale of
    its data or its noise.

    Args:
        model: the score that is known.
        process: the process that it becomes a score of.

    Raises:
        InputError: where one of the two has no Gaussian kernel.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", appendix B.2.
    """

    def __init__(self, model: ScoreModel, process: GaussianSDE) -> None:
        super().__init__()
        known = model.sde
        if not isinstance(known, GaussianSDE) or not isinstance(process, GaussianSDE):
            name = type(known if isinstance(process, GaussianSDE) else process).__name__
            raise InputError(f"only a GaussianSDE has another's score; {name} is not one: try sde=vp")
        self.model, self.shape, self.range = model, model.shape, model.range
        self.sde: GaussianSDE = process
        self.known: GaussianSDE = known
        ends = torch.tensor([known.t_max, known.t_min], dtype=torch.float64)
        self.least, self.most = known.log_snr(ends).tolist()

    def check_cond(self, n: int, cond: Cond) -> None:
        """As the model that is known."""
        self.model.check_cond(n, cond)

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> GaussianPrediction:
        """Denoise at the model's own time of equal log-SNR; arguments as in `Denoiser`."""
        self.sde.check_time(t)
        known, least, most = self.known, self.least, self.most
        alpha, std, log_snr = self.sde.alpha(t), self.sde.std(t), self.sde.log_snr(t)
        time = known.time(log_snr.clamp(least, most)).clamp(known.t_min, known.t_max)
        scale = torch.where(log_snr < least, known.std(time) / std, known.alpha(time) / alpha)
        said: GaussianPrediction = self.model((expand(scale, x) * x).to(x.dtype), time, cond)
        return GaussianPrediction(x, said.x0, expand(alpha, x), expand(std, x))
