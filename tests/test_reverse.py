"""The reverse of an SDE; that it keeps the marginals is in laws/test_reverse.py."""

from dataclasses import dataclass

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import ScoreModel
from scoresde.sde.base import Process

F64 = torch.float64
VP = registry.build("sde", "vp")
MODEL = GaussianMixture(VP, torch.zeros(1, 2, dtype=F64), 0.5)
X, T = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0)), torch.tensor(0.4, dtype=F64)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
def test_drift_is_the_papers(eta):
    score, g2 = MODEL(X, T).score, VP.diffusion_squared(T)
    reverse = Reverse(MODEL, eta=eta)
    torch.testing.assert_close(reverse.drift(X, T), VP.drift(X, T) - (1 + eta**2) / 2 * g2 * score)
    torch.testing.assert_close(reverse.diffusion(X, T), eta * VP.diffusion(X, T))
    torch.testing.assert_close(reverse.gram(X, T, X), eta**2 * g2 * X)
    assert reverse.deterministic == (eta == 0)


def test_a_score_that_is_conditioned_gets_its_conditions():
    class Shifted(ScoreModel):
        sde, shape = VP, (2,)

        def forward(self, x, t, cond=None):
            return MODEL(x - cond["by"], t)

    reverse = Reverse(Shifted(), {"by": torch.ones(4, 2, dtype=F64)})
    torch.testing.assert_close(reverse.predict(X, T).score, MODEL(X - 1, T).score)


@pytest.mark.parametrize("eta", [-0.1, float("nan"), float("inf")])
def test_an_eta_that_is_none_is_refused(eta):
    with pytest.raises(InputError, match=r"^Reverse\.eta = .* must be a number >= 0$"):
        Reverse(MODEL, eta=eta)


@dataclass(frozen=True)
class Correlated(Process):
    """dx = −½ x dt + L dw: the noise of the coordinates is correlated by a matrix L, so σ is no amplitude."""

    t_min: float = 1e-3
    t_max: float = 10.0
    mixing = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=F64)

    def drift(self, x, t):
        return -x / 2

    def diffusion(self, x, t):
        raise AssertionError("a matrix has no amplitude for each coordinate")

    def noise(self, x, t, dw):
        return dw @ self.mixing.T

    def gram(self, x, t, v):
        return v @ self.mixing @ self.mixing.T

    def prior(self, shape, device=None, dtype=None):
        raise NotImplementedError


class Stationary(ScoreModel):
    """The score of N(0, L Lᵀ), which the process above leaves as it is."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.sde = Correlated()

    def forward(self, x, t, cond=None):
        class Said:
            score = -x @ torch.linalg.inv(self.sde.mixing @ self.sde.mixing.T)

        return Said()


@pytest.mark.parametrize("name", ["euler_maruyama", "heun"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_noise_may_be_a_matrix(name, eta):
    """Samples of the stationary law stay in it, correlation and all, whichever way time runs."""
    n, right = 10_000, Correlated.mixing @ Correlated.mixing.T
    noise = Noise(1, (n, 2), dtype=F64)
    x = noise.normal() @ Correlated.mixing.T
    ts = torch.linspace(3, 2, 101, dtype=F64)
    solver = registry.build("solver", {"name": name, "eta": eta})
    out = solver.solve(Reverse(Stationary(), eta=eta), x, ts, noise)
    assert (out.T @ out / n - right).abs().max() < 5 * (2 / n) ** 0.5
    if eta:
        out = solver.solve(Correlated(), x, ts.flip(0), noise)
        assert (out.T @ out / n - right).abs().max() < 5 * (2 / n) ** 0.5 + 0.01
