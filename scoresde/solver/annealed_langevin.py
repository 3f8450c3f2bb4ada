"""Langevin dynamics at each time of the grid, its step size proportional to the variance there."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Corrector, State, predict

__all__ = ["AnnealedLangevin"]


@dataclass(frozen=True)
class AnnealedLangevin(Corrector):
    """x ← x + h ∇log p_s(x) + √(2h) z, with h = 2 (snr s_s)².

    A step from t to s is ``steps`` such updates at s. Alone it is the sampler of NCSN; behind a predictor it is the
    corrector that the paper calls ALD.

    Args:
        snr: r in (0, 1), the step in units of the noise's deviation: about 0.16.
        steps: updates at each time, ≥ 1.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution", algorithm 1;
    Song et al. 2021, appendix G.
    """

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Updates at s."""
        var, *rest = state
        size = 2 * self.snr**2 * var
        for _ in range(self.steps):
            x = x + size * predict(sde, x, s).score + (2 * size) ** 0.5 * noise.normal()
        return x, rest
