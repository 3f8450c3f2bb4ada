"""The denoiser around a network; its identities are in laws/test_param.py."""

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError
from scoresde.score import Denoiser

F64 = torch.float64
VP, V = registry.build("sde", "vp"), registry.build("param", "v")


def mlp(shape=(2,), classes=0):
    net = registry.build("model", {"name": "mlp", "width": 8, "depth": 1}, shape=shape, classes=classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_a_denoiser_has_the_shape_of_its_network():
    model = Denoiser(mlp((3, 4)), VP, V, range=(-1.0, 1.0))
    assert model.shape == (3, 4)
    assert model.range == (-1.0, 1.0)
    assert model(torch.zeros(5, 3, 4), torch.tensor(0.5)).x0.shape == (5, 3, 4)


def test_the_network_works_in_its_own_precision():
    model = Denoiser(mlp(), VP, V)
    x, t = torch.randn(5, 2, dtype=F64), torch.tensor(0.5, dtype=F64)
    said = model(x, t)
    assert said.x0.dtype == said.score.dtype == F64
    torch.testing.assert_close(said.x0.float(), model(x.float(), t).x0, rtol=1e-5, atol=1e-5)
    half = Denoiser(mlp().bfloat16(), VP, V)
    assert half(x.float(), t).x0.dtype == torch.float32


def test_conditions_reach_the_network():
    model = Denoiser(mlp(classes=3), VP, V)
    x, t = torch.randn(2, 2), torch.tensor(0.5)
    a, b = (model(x, t, {"label": torch.tensor(label)}).x0 for label in ([0, 1], [0, 2]))
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])


def test_gradients_reach_the_network():
    model = Denoiser(mlp(), VP, V)
    model(torch.randn(4, 2), torch.rand(4) + 0.1).x0.square().sum().backward()
    assert all(p.grad is not None for p in model.net.parameters())


def test_data_of_another_shape_is_refused():
    model = Denoiser(mlp(), VP, V)
    with pytest.raises(InputError, match=r"^data of shape \(4, 3\) does not fit: the model was made for \(B, 2\)$"):
        model(torch.zeros(4, 3), torch.tensor(0.5))
    with pytest.raises(InputError, match="does not fit data of shape"):
        model(torch.zeros(4, 2), torch.tensor([0.5, 0.6]))


def test_a_process_without_a_gaussian_kernel_is_refused():
    with pytest.raises(InputError, match=r"^a denoiser needs a GaussianSDE; DoubleWell is not one: try sde=vp$"):
        Denoiser(mlp(), registry.build("sde", "double_well"), V)
