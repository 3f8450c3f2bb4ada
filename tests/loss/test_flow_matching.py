"""The velocity's error is the score's, weighted; coupling deals noise so that paths cross less."""

from dataclasses import dataclass

import pytest
import torch

from scoresde.analytic import GaussianMixture
from scoresde.loss.dsm import DSM
from scoresde.loss.flow_matching import FlowMatching
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.registry import build, names
from scoresde.score import GaussianPrediction, ScoreModel
from scoresde.sde.base import GaussianSDE

F64 = torch.float64
PROCESSES = [s for s in names("sde") if isinstance(build("sde", s), GaussianSDE)]


@dataclass(frozen=True)
class FourthPower(Weighting):
    """g⁴/4."""

    def __call__(self, sde, t):
        return sde.diffusion_squared(t) ** 2 / 4


@pytest.mark.parametrize("sde", PROCESSES)
def test_it_is_denoising_score_matching_with_a_weighting(sde):
    """Sample by sample, for a model that is wrong."""
    model = GaussianMixture(build("sde", sde), torch.tensor([[0.4, -1.0]], dtype=F64), 0.3)
    x0 = Noise(1, (512, 2), dtype=F64).normal()
    velocity = FlowMatching()(model, x0, Noise(2, (512, 2), dtype=F64))
    score = DSM(weighting=FourthPower())(model, x0, Noise(2, (512, 2), dtype=F64))
    torch.testing.assert_close(velocity, score, rtol=1e-6, atol=1e-9)


class Seen(ScoreModel):
    """A model that keeps what it was shown."""

    def __init__(self, sde):
        super().__init__()
        self.sde, self.shape = sde, (2,)

    def forward(self, x, t, cond=None):
        self.x, self.t = x, t[:, None]
        return GaussianPrediction(x, 0 * x, self.sde.alpha(self.t), self.sde.std(self.t))


def test_coupling_deals_the_same_noise_at_less_cost():
    sde = build("sde", "rectified")
    model, x0, dealt = Seen(sde), Noise(1, (64, 2), dtype=F64).normal(), {}
    for coupling in (False, True):
        FlowMatching(coupling=coupling)(model, x0, Noise(2, (64, 2), dtype=F64))
        dealt[coupling] = (model.x - sde.alpha(model.t) * x0) / sde.std(model.t)
    plain, best = dealt[False], dealt[True]
    # one row each: the smallest distance of every row to one of the other set is nothing, and no row is taken twice
    nearest = torch.cdist(best, plain).min(1)
    assert nearest.values.max() < 1e-6
    assert len(nearest.indices.unique()) == 64
    cost = [(x0 - eps).square().sum() for eps in (plain, best)]
    assert cost[1] < 0.5 * cost[0]
    # no exchange of two makes it less: what an optimum has, and a greedy deal has not
    table = torch.cdist(x0, best).square()
    now = table.diagonal()
    assert (table + table.T >= now[:, None] + now[None] - 1e-9).all()


def test_with_coupling_conditions_stay_with_their_samples():
    asked = []

    class Labelled(Seen):
        def forward(self, x, t, cond=None):
            asked.append(cond["label"])
            return super().forward(x, t, cond)

    label = torch.arange(64)
    FlowMatching(coupling=True)(
        Labelled(build("sde", "rectified")), torch.randn(64, 2), Noise(0, (64, 2)), {"label": label}
    )
    assert torch.equal(asked[0], label)
