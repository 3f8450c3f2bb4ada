"""The denoiser around a network; its identities are in laws/test_param.py."""

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.sampling import sample
from scoresde.score import Denoiser
from scoresde.sde.base import GaussianSDE

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


GAUSSIANS = [name for name in registry.names("sde") if issubclass(registry.component("sde", name), GaussianSDE)]


@pytest.mark.parametrize("process", GAUSSIANS)
@pytest.mark.parametrize("trained", ["vp", "ve", "edm"])
def test_a_score_on_another_process_is_the_other_score(trained, process):
    """Of data whose score is known for every process; where the model's times end, as far as they reach."""
    known, other = registry.build("sde", trained), registry.build("sde", process)
    means = torch.randn(3, 4, dtype=F64)
    model, wanted = (GaussianMixture(sde, means, 0.4) for sde in (known, other))
    retimed = model.on(other)
    assert (retimed.sde, retimed.shape, retimed.range) == (other, (4,), model.range)
    ends = torch.tensor([known.t_max, known.t_min], dtype=F64)
    least, most = known.log_snr(ends).tolist()
    for t in torch.linspace(other.t_min, other.t_max, 9, dtype=F64):
        x = other.perturb(torch.randn(5, 4, dtype=F64), t, torch.randn(5, 4, dtype=F64))
        said = retimed(x, t)
        assert said.score.isfinite().all()
        if least < other.log_snr(t) < most:
            torch.testing.assert_close(said.x0, wanted(x, t).x0, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(said.score, wanted(x, t).score, rtol=1e-6, atol=1e-6)
        batch = retimed(x, t.expand(5))
        torch.testing.assert_close(batch.x0, said.x0, rtol=1e-6, atol=1e-6)


def test_a_network_on_another_process_and_back():
    model = Denoiser(mlp(), VP, V, range=(-1.0, 1.0))
    there = model.on(registry.build("sde", "ve"))
    back = there.on(VP)
    x, t = torch.randn(5, 2), torch.tensor(0.4, dtype=F64)
    torch.testing.assert_close(back(x, t).x0, model(x, t).x0, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in there.parameters()) == sum(p.numel() for p in model.parameters())
    with pytest.raises(InputError, match="DoubleWell is not one"):
        model.on(registry.build("sde", "double_well"))
    with pytest.raises(InputError, match="is outside VE"):
        there(x, torch.tensor(2.0, dtype=F64))
    with pytest.raises(InputError, match="was made for"):
        there(torch.randn(5, 3), t)


def test_samples_of_a_score_on_another_process_follow_the_same_law():
    model = GaussianMixture(registry.build("sde", "ve"), torch.tensor([[1.0, -2.0]]), 0.25)
    drawn = sample(model.on(VP), 2000, solver=registry.build("solver", "heun"), steps=30)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.5, 0.5]), rtol=0, atol=0.04)
