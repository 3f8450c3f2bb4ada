"""What an SDE is: its drift and its diffusion. What a noising process adds: a clock and a prior."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from scoresde.errors import InputError, check, typed
from scoresde.tensor import expand

__all__ = ["SDE", "GaussianSDE", "LinearBeta", "Process"]


class SDE(ABC):
    """An Itô equation dx = a(x, t) dt + σ(x, t) dw.

    Times have shape () or (B,), data has shape (B, ...). Noise is diagonal unless `noise`, `gram` and
    `gram_divergence` are overridden together.
    """

    deterministic: bool = False
    """Whether σ is zero everywhere, so that a solver need not draw noise."""

    @abstractmethod
    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """a(x, t), the shape of x."""

    @abstractmethod
    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """σ(x, t), in a shape that broadcasts with x: one amplitude per coordinate."""

    def noise(self, x: Tensor, t: Tensor, dw: Tensor) -> Tensor:
        """σ(x, t) dw, the shape of x."""
        return self.diffusion(x, t) * dw

    def gram(self, x: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """σσᵀ v, the shape of v."""
        return self.diffusion(x, t) ** 2 * v

    def gram_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """∇·(σσᵀ), in a shape that broadcasts with x: zero where σ ignores x."""
        return torch.zeros((), dtype=x.dtype, device=x.device)


class Process(SDE):
    """A noising SDE: data at t = 0, a known prior at t_max.

    ``t_min`` is where training starts and sampling stops: closer to the data the score of a finite data set is
    a sum of spikes.
    """

    t_min: float
    t_max: float

    def __post_init__(self) -> None:
        """Refuse a clock that does not run from t_min to t_max."""
        typed(self)
        check(self, "t_min", self.t_min > 0, "a time > 0")
        check(self, "t_max", self.t_min < self.t_max < float("inf"), f"a time > t_min = {self.t_min}")

    def check_time(self, t: Tensor) -> None:
        """Refuse a time outside the process; times of shape (B,), which may lie on a device, are not looked at.

        Raises:
            InputError: for what is not a tensor, and for a scalar on the CPU outside [t_min, t_max], roundings aside.
        """
        if not isinstance(t, Tensor):
            raise InputError(f"a time must be a tensor of shape () or (B,), not {t!r}: try torch.tensor({t!r})")
        if torch.compiler.is_compiling():  # a graph does not look at values
            return
        if t.ndim or t.device.type != "cpu":
            return
        time, name = t.item(), type(self).__name__
        if not self.t_min * (1 - 1e-6) <= time <= self.t_max * (1 + 1e-6):
            raise InputError(f"t = {time:g} is outside {name}, whose times are [{self.t_min:g}, {self.t_max:g}]")

    @abstractmethod
    def prior(
        self, shape: tuple[int, ...], device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Distribution:
        """The law of x at t_max.

        Args:
            shape: of the batch, (B, ...).
            device, dtype: of the samples.

        Returns:
            A law of ``batch_shape = shape``, independent over coordinates, with ``icdf`` (through which each sample
            is drawn from its own stream) and ``log_prob`` per coordinate.
        """


class GaussianSDE(Process):
    """A process with a Gaussian kernel, x_t = α_t x_0 + s_t ε with ε ~ N(0, I).

    A subclass gives α and s²; drift (d log α/dt) x and diffusion² = ds²/dt − 2 s² d log α/dt follow
    (Kingma et al. 2021, "Variational diffusion models", eq. 9; Karras et al. 2022, appendix B.1).
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """α_t, the shape of t: positive, falling."""

    @abstractmethod
    def var(self, t: Tensor) -> Tensor:
        """s_t², the shape of t: rising. The primitive, because d s_t/dt may be infinite at 0."""

    def std(self, t: Tensor) -> Tensor:
        """s_t, the shape of t."""
        return self.var(t).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """log(α_t²/s_t²), the shape of t: falling."""
        return 2 * self.alpha(t).log() - self.var(t).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`, by bisection within [t_min, t_max]; overridden where a closed form is known.

        Args:
            log_snr: any shape.

        Returns:
            Times, the shape of ``log_snr``.
        """
        low, high = torch.full_like(log_snr, self.t_min), torch.full_like(log_snr, self.t_max)
        for _ in range(64):
            middle = (low + high) / 2
            noisy = self.log_snr(middle) < log_snr
            low, high = torch.where(noisy, low, middle), torch.where(noisy, middle, high)
        return (low + high) / 2

    def perturb(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Draw from the kernel: α_t x_0 + s_t ε, the shape of x0."""
        return expand(self.alpha(t), x0) * x0 + expand(self.std(t), x0) * eps

    def drift_rate(self, t: Tensor) -> Tensor:
        """d log α_t/dt, the shape of t: the drift is this times x."""
        return _derivative(lambda u: self.alpha(u).log(), t)

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """g(t)² = d s_t²/dt − 2 s_t² d log α_t/dt, the shape of t."""
        return _derivative(self.var, t) - 2 * self.var(t) * self.drift_rate(t)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """a(x, t) = (d log α_t/dt) x."""
        return expand(self.drift_rate(t), x) * x

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """σ(t) = g(t)."""
        return expand(self.diffusion_squared(t).sqrt(), x)

    def prior(
        self, shape: tuple[int, ...], device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Distribution:
        """N(0, s²(t_max) I): α(t_max) x_0 is neglected."""
        std = self.std(torch.tensor(self.t_max, dtype=torch.float64)).item()
        zeros = torch.zeros(shape, device=device, dtype=dtype)
        return Normal(zeros, std, validate_args=False)


@dataclass(frozen=True)
class LinearBeta(GaussianSDE):
    """A Gaussian process of drift −½β(t) x, with β rising linearly from beta_min at t = 0 to beta_max at t = 1.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 32.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "beta_min", 0 <= self.beta_min < float("inf"), "a number >= 0")
        check(self, "beta_max", self.beta_min < self.beta_max < float("inf"), f"a number > beta_min = {self.beta_min}")

    def beta(self, t: Tensor) -> Tensor:
        """β(t) = beta_min + t (beta_max − beta_min)."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """B(t) = ∫₀ᵗ β."""
        return self.beta_min * t + (self.beta_max - self.beta_min) / 2 * t**2

    def time_of_integral(self, integral: Tensor) -> Tensor:
        """The inverse of B: the root of a quadratic, in the form that does not cancel."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−B/2)."""
        return torch.exp(-self.integral(t) / 2)

    def drift_rate(self, t: Tensor) -> Tensor:
        """−½β(t)."""
        return -self.beta(t) / 2


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """d function/dt where each element of the result depends on its own time only."""
    with torch.inference_mode(False), torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        total = function(t).sum()
        if not total.requires_grad:  # a constant
            return torch.zeros_like(t)
        (slope,) = torch.autograd.grad(total, t)
    return slope
