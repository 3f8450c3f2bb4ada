"""NCSNv2: a network for every size of image, blind to all but it."""

import pytest
import torch

from scoresde.errors import InputError
from scoresde.model.layers.refine import InstanceNormPlus
from scoresde.model.ncsnv2 import NCSNv2


@pytest.mark.parametrize(
    ("size", "multipliers", "count"),
    [(32, (1, 2, 2, 2), 29_694_083), (128, (1, 2, 2, 4, 4), 83_445_379)],
)
def test_as_many_weights_as_the_official_networks(size, multipliers, count):
    with torch.device("meta"):
        net = NCSNv2((3, size, size), 0, multipliers=multipliers)
    assert sum(weight.numel() for weight in net.parameters()) == count


@pytest.mark.parametrize("multipliers", [(1, 1, 2), (1, 2, 2, 2), (1, 2, 2, 2, 4, 4)])
def test_keeps_the_shape_and_every_weight_learns(multipliers):
    torch.manual_seed(0)
    net = NCSNv2((2, 8, 16), 0, channels=4, multipliers=multipliers)
    out = net(torch.randn(3, 2, 8, 16), torch.zeros(3))
    assert out.shape == (3, 2, 8, 16)
    out.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_does_not_read_the_noise_level_nor_neighbours():
    torch.manual_seed(0)
    net, x = NCSNv2((1, 8, 8), 0, channels=4).eval(), torch.randn(2, 1, 8, 8)
    out = net(x, torch.tensor([-4.0, 2.0]))
    torch.testing.assert_close(
        out, torch.cat([net(x[:1], torch.zeros(1)), net(x[1:], torch.ones(1))]), rtol=1e-5, atol=1e-5
    )


def test_instance_norm_plus_is_the_papers():
    torch.manual_seed(0)
    norm, x = InstanceNormPlus(5), 3 * torch.randn(2, 5, 6, 6) + torch.arange(5.0)[:, None, None]
    means = x.mean((2, 3))
    m, v = means.mean(1, keepdim=True), means.var(1, keepdim=True)
    spread = (x - means[..., None, None]) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    shifted = spread + (norm.alpha * (means - m) / (v + 1e-5).sqrt())[..., None, None]
    right = norm.gamma[:, None, None] * shifted + norm.beta[:, None, None]
    torch.testing.assert_close(norm(x), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "classes", "fields", "message"),
    [
        ((2,), 0, {}, "try model=mlp"),
        ((1, 9, 8), 0, {}, "multiples of 2"),
        ((1, 8, 8), 3, {}, "classes = 3, but it must be 0, for it has no conditions"),
        ((1, 8, 8), 0, {"tokens": 4}, "tokens = 4"),
        ((1, 8, 8), 0, {"channels": 1}, "channels = 1"),
        ((1, 8, 8), 0, {"multipliers": (1, 2)}, "multipliers"),
    ],
)
def test_refuses(shape, classes, fields, message):
    with pytest.raises(InputError, match=message):
        NCSNv2(shape, classes, **fields)
