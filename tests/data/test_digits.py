import torch

from scoresde.data.digits import Digits
from scoresde.registry import build, describe


def test_digits_are_what_they_say():
    data = Digits().load()
    x, label = data.x, data.label
    assert x.shape == (1797, *Digits.shape)
    assert x.dtype == torch.float32
    assert (x.min().item(), x.max().item()) == Digits.range
    assert label is not None
    assert label.dtype == torch.int64
    assert label.shape == (1797,)
    assert label.unique().tolist() == list(range(Digits.classes))


def test_values_are_the_seventeen_levels_of_the_scans():
    from sklearn.datasets import load_digits

    x = Digits().load().x
    assert torch.equal((x + 1) * 8, torch.as_tensor(load_digits().images, dtype=torch.float32)[:, None])


def test_build_and_describe():
    assert build("data", describe(Digits())) == Digits()
