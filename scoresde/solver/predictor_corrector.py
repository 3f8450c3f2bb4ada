"""Predictor–corrector: a step of a solver, then Langevin dynamics where it arrived."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.sde.base import SDE, Process
from scoresde.solver.base import Corrector, State, StepSolver

__all__ = ["PredictorCorrector"]


@dataclass(frozen=True)
class PredictorCorrector(StepSolver):
    """From t to s by the predictor, then the corrector at s.

    Args:
        predictor: any solver that steps: ``solver/predictor=euler_maruyama``, ``reverse_diffusion``, ``ancestral``, …
        corrector: one that moves at s alone: ``solver/corrector=annealed_langevin``, right in any dimension, or the
            paper's ``langevin``, for images.

    Raises:
        InputError: where either cannot integrate the SDE.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", algorithms 1 to 3.
    """

    weak_order = 0
    facts = ("–", "2/step + 1", "SDE")
    predictor: StepSolver = nested("solver", "reverse_diffusion")
    corrector: Corrector = nested("solver", "annealed_langevin")

    @property
    def eta(self) -> float:  # type: ignore[override]
        """The predictor's."""
        return self.predictor.eta

    def nfe(self, steps: int) -> int | None:
        """The predictor's and the corrector's."""
        predicting, correcting = self.predictor.nfe(steps), self.corrector.nfe(steps)
        return None if predicting is None or correcting is None else predicting + correcting

    def default_grid(self, process: Process) -> Grid:
        """The predictor's."""
        return self.predictor.default_grid(process)

    def refusal(self, sde: SDE) -> str | None:
        """What the predictor or the corrector refuses."""
        return self.predictor.refusal(sde) or self.corrector.refusal(sde)

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """The states of both."""
        return self.predictor.init(sde, x, ts), self.corrector.init(sde, x, ts)

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Predict, then correct."""
        x, predicted = self.predictor.step(sde, x, t, s, noise, state[0])
        x, corrected = self.corrector.step(sde, x, t, s, noise, state[1])
        return x, (predicted, corrected)
