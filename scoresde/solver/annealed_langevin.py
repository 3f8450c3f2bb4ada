"""Langevin dynamics at each time of the grid, its step size proportional to the variance there."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from scoresde.errors import check
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, StepSolver, predict

__all__ = ["AnnealedLangevin"]


@dataclass(frozen=True)
class AnnealedLangevin(StepSolver):
    """x ← x + h ∇log p_s(x) + √(2h) z, with h = 2 (snr s_s)².

    A step from t to s is ``steps`` such updates at s. Alone it is the sampler of NCSN; behind a predictor it is the
    corrector that the paper calls ALD.

    Args:
        snr: r > 0: the step in units of the noise's deviation, about 0.16.
        steps: updates at each time, ≥ 1.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution", algorithm 1;
    Song et al. 2021, appendix G.
    """

    needs = GaussianSDE
    weak_order = 0
    eta = 1.0
    snr: float = 0.16
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse steps that are none and ratios that are not positive."""
        check(self, "snr", 0 < self.snr < 1, "a number in (0, 1), beyond which the dynamics diverge")
        check(self, "steps", self.steps >= 1, "a whole number >= 1")

    def nfe(self, steps: int) -> int:
        """One for each update."""
        return steps * self.steps

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """h of each step."""
        process = cast(GaussianSDE, cast(Reverse, sde).model.sde)
        return (2 * self.snr**2 * process.var(ts[1:])).tolist()

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Updates at s."""
        size, *rest = state
        for _ in range(self.steps):
            x = x + size * predict(sde, x, s).score + (2 * size) ** 0.5 * noise.normal()
        return x, rest
