"""Adaptive steps: the tolerance on the data, and what a sample that waits for others is asked."""

import torch

from scoresde.analytic import GaussianMixture
from scoresde.reverse import Reverse
from scoresde.sampling import times
from scoresde.sde.vp import VP
from scoresde.solver.adaptive import Adaptive

F64 = torch.float64
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64)


class Watched(GaussianMixture):
    """Keeps what it was asked."""

    def __init__(self):
        super().__init__(VP(), MEANS, 0.1)
        self.seen = []

    def forward(self, x, t, cond=None):
        self.seen.append((x.clone(), t.clone()))
        return super().forward(x, t, cond)


def run(x, ts, tol=1e-2):
    model = Watched()
    return [y for _, y in Adaptive(tol).iterate(Reverse(model, eta=0.0), x, ts)], model.seen


def start():
    return torch.tensor([[0.3, -1.2], [-2.0, 0.1], [0.9, 0.8], [-0.2, 0.2]], dtype=F64)


def test_it_ends_on_the_data():
    ts = torch.tensor([1.0, 0.0], dtype=F64)
    exact = run(start(), ts, 1e-9)[0][-1]
    for tol in (1e-1, 1e-2, 1e-3):
        off = (run(start(), ts, tol)[0][-1] - exact).pow(2).mean(1).sqrt()
        assert (off[1:] < tol).all()
        assert off[0] < 3 * tol  # the first path passes beside the boundary between the modes, which parts neighbours


def test_reports_cost_no_evaluation():
    few, seen = run(start(), torch.tensor([1.0, 0.0], dtype=F64))
    many, more = run(start(), times(VP(), Adaptive(), 50))
    assert len(many) == 51
    assert len(more) == len(seen)
    torch.testing.assert_close(many[-1], few[-1], rtol=0, atol=1e-9)


def test_a_sample_that_waits_is_asked_as_it_was_last():
    _, seen = run(start(), torch.tensor([1.0, 0.0], dtype=F64))
    asked = torch.ones(4)
    for (x, t), (y, s) in zip(seen[1:], seen[:-1], strict=True):
        asked += (x != y).any(1) | (t != s)
    for i, count in enumerate(asked.tolist()):
        _, alone = run(start()[i : i + 1], torch.tensor([1.0, 0.0], dtype=F64))
        assert len(alone) == count
    assert max(asked) == len(seen)
