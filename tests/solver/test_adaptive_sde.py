"""Refused steps are cut on the same Brownian path."""

import torch

from scoresde.solver.adaptive_sde import _Path
from tests.laws.exact import F64, Given


def test_the_parts_of_a_cut_interval_are_independent_increments():
    """Of variance share · h and (1 − share) h, and their sum is what was known. Column j has draw j alone."""
    h, share = 0.7, 0.3
    both = torch.ones(2, dtype=torch.bool)
    path = _Path(torch.zeros(2, 1, dtype=F64), Given(torch.eye(3, 2, dtype=F64), (1,)))
    path.advance(both, torch.full((2,), h, dtype=F64), torch.zeros(2, dtype=F64))
    _, whole = path.next()
    path.advance(~both, torch.zeros(2, dtype=F64), torch.full((2,), share, dtype=F64))
    size, first = path.next()
    path.advance(both, torch.zeros(2, dtype=F64), torch.zeros(2, dtype=F64))
    left, second = path.next()
    torch.testing.assert_close(torch.stack([size, left])[:, 0], torch.tensor([share * h, (1 - share) * h], dtype=F64))
    torch.testing.assert_close(first + second, whole)
    gram = torch.stack([(first * first).sum(), (first * second).sum(), (second * second).sum()])
    torch.testing.assert_close(gram, torch.tensor([share * h, 0.0, (1 - share) * h], dtype=F64), rtol=1e-12, atol=1e-12)
