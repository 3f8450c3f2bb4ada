"""The reverse of an SDE is an SDE."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.score import Cond, GaussianPrediction, Prediction, ScoreModel
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.tensor import expand

__all__ = ["Reverse"]


@dataclass(frozen=True, eq=False)
class Reverse(SDE):
    """All the processes with the marginals of a noising SDE, by how much noise they draw.

    Integrated from t_max to t_min, dx = [a − ½(1 + η²)(σσᵀ ∇log p_t + ∇·σσᵀ)] dt + η σ dw has the law p_t at every t,
    whatever η ≥ 0: η = 1 is Anderson's reverse-time SDE, η = 0 the probability-flow ODE. Solvers of an SDE need not
    know that it is a reverse.

    Args:
        model: the score.
        cond: what the score is conditioned on.
        eta: η.

    Raises:
        InputError: for η < 0.

    Source: Anderson 1982; Song et al. 2021, eq. 6, 13 and appendix D.1; Zhang & Chen 2021, "Diffusion normalizing
    flow", for η between.
    """

    model: ScoreModel
    cond: Cond | None = None
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative η."""
        typed(self)
        check(self, "eta", 0 <= self.eta < float("inf"), "a number >= 0")

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """Whether η = 0."""
        return self.eta == 0

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """What the model says of x at t: one network evaluation."""
        return self.model(x, t, self.cond)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """a − ½(1 + η²)(σσᵀ ∇log p_t + ∇·σσᵀ)."""
        forward, said, share = self.model.sde, self.predict(x, t), (1 + self.eta**2) / 2
        if isinstance(forward, GaussianSDE) and isinstance(said, GaussianPrediction):  # linear in x and the score
            return said.mix(expand(forward.drift_rate(t), x), expand(-share * forward.diffusion_squared(t), x))
        return forward.drift(x, t) - share * (forward.gram(x, t, said.score) + forward.gram_divergence(x, t))

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """η σ."""
        return self.eta * self.model.sde.diffusion(x, t)

    def noise(self, x: Tensor, t: Tensor, dw: Tensor) -> Tensor:
        """η σ dw."""
        return self.eta * self.model.sde.noise(x, t, dw)

    def gram(self, x: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """η² σσᵀ v."""
        return self.eta**2 * self.model.sde.gram(x, t, v)

    def gram_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """η² ∇·σσᵀ."""
        return self.eta**2 * self.model.sde.gram_divergence(x, t)
