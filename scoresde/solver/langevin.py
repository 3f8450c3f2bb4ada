"""Langevin dynamics at each time of the grid, its step size set by a signal-to-noise ratio."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Corrector, State, predict
from scoresde.tensor import expand, inner

__all__ = ["Langevin"]


@dataclass(frozen=True)
class Langevin(Corrector):
    """x ← x + h ∇log p_s(x) + √(2h) z, with h = 2 (snr ‖z‖/‖∇log p_s(x)‖)² for each sample by itself, s_s² at most.

    A step from t to s is ``steps`` such updates at s. Alone it is annealed Langevin sampling; behind a predictor it is
    the paper's corrector. The paper's code averages both norms over the batch, so that a sample depends on its
    neighbours; here it does not, at a price: a step that knows its own z and score widens the law, by about 2/D of the
    variance in D dimensions. Nothing for images; for points take annealed_langevin. The paper's factor
    α_i = 1 − β_i for VP, which tends to 1 as the grid is refined, is left out.

    Args:
        snr: the ratio r of the norms of what the score and the noise contribute, in (0, 1): about 0.16.
        steps: updates at each time, ≥ 1.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", algorithms 4 and 5.
    """

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Updates at s."""
        most, *rest = state
        for _ in range(self.steps):
            score, z = predict(sde, x, s).score, noise.normal()
            size = (2 * self.snr**2 * inner(z, z) / inner(score, score)).clamp(max=most)
            x = x + expand(size, x) * score + expand((2 * size).sqrt(), x) * z
        return x, rest
