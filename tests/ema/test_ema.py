import math

import numpy as np
import pytest
import torch
from torch import nn

from scoresde.ema import EMA
from scoresde.ema.decay import Decay
from scoresde.ema.half_life import HalfLife
from scoresde.ema.power import Power
from scoresde.errors import InputError


class Walk(nn.Module):
    """One weight and one buffer, which a test moves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(1))


def average(how, path, batch=1):
    """Each average of a weight that takes the path's values in turn."""
    walk = Walk()
    with torch.no_grad():
        walk.weight.fill_(99.0)  # the start, to be forgotten
    ema = EMA(walk, how)
    for step, value in enumerate(path):
        with torch.no_grad():
            walk.weight.fill_(value)
            walk.seen.fill_(step)
        ema.update(step, batch)
    assert all(each.seen.item() == len(path) - 1 for each in ema.models)
    assert not ema.model.training
    assert not any(weight.requires_grad for weight in ema.weights)
    return [each.weight.item() for each in ema.models]


def test_a_decay_follows_its_formula():
    path, want = [1.0, 2.0, -1.0, 5.0, 3.0], 99.0
    for k, value in enumerate(path):
        d = min(0.5, (1 + k) / (10 + k))
        want = d * want + (1 - d) * value
    assert average(Decay(0.5), path) == pytest.approx([want])


def test_a_half_life_halves():
    """Long after the ramp-up, what was reached an H ago has half of its weight left."""
    how = HalfLife(images=6400.0)
    steps = 6400 // 64 // 0.05
    past = [1.0] * int(2 * steps)
    (now,) = average(how, past + [0.0] * 100, batch=64)
    assert now == pytest.approx(0.5)
    (first,) = average(how, [7.0], batch=64)
    assert first == 7.0
    # while few are seen, the half-life is their share
    assert how.decays(10, 64)[0] == pytest.approx(0.5 ** (1 / 0.5))


@pytest.mark.parametrize("length", [0.03, 0.05, 0.1, 0.2])
def test_a_power_s_length_is_the_deviation_of_what_it_weighs(length):
    """Weights of each step in the average, by averaging a step function."""
    how, steps = Power(length=length, other=0.15), 4000
    decays = np.array([how.decays(step, 1)[0] for step in range(steps)])
    weight = (1 - decays) * np.append(np.cumprod(decays[:0:-1])[::-1], 1.0)
    assert weight.sum() == pytest.approx(1)
    at = (np.arange(steps) + 0.5) / steps
    mean = (weight * at).sum()
    assert math.sqrt((weight * (at - mean) ** 2).sum()) == pytest.approx(length, rel=2e-3)
    assert how.decays(0, 1) == (0.0, 0.0)


def test_the_paper_s_exponents():
    assert Power(length=0.05, other=0.1).exponents() == pytest.approx((16.97, 6.94), abs=0.01)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Decay(1.0), "rate"),
        (lambda: Decay(-0.1), "rate"),
        (lambda: HalfLife(images=0.0), "images"),
        (lambda: HalfLife(rampup=float("inf")), "rampup"),
        (lambda: Power(length=0.3), "length"),
        (lambda: Power(other=0.0), "other"),
        (lambda: Power(length=0.05, other=0.05), "other"),
    ],
)
def test_bad_input_is_refused(make, field):
    with pytest.raises(InputError, match=field):
        make()
