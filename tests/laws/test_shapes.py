"""Nothing names an axis: points, images and sequences go through every solver and every network alike."""

import dataclasses
import re

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.grid.uniform import Uniform
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sampling import sample

from .exact import F64, OTHER, at_eta, label, solvers, to_within
from .test_sde import Stationary

SHAPES = pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (5, 3)], ids=["point", "image", "sequence"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])

# networks small enough to run here: of these fields, those that a network has
SMALL = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "width": 16, "depth": 1}
OTHERWISE = {
    "dit": {"width": 16, "heads": 2, "depth": 1},
    "ncsnv2": {"channels": 32, "multipliers": (1, 1, 2)},
    "unet1d": {"channels": 32, "multipliers": (1,), "blocks": 1},
    "unet2d": {"channels": (32, 32), "blocks": 1, "attention_down": (False, True), "attention_up": (True, False)},
}


def network(name, shape, classes):
    fields = {f.name for f in dataclasses.fields(registry.component("model", name))}
    small = OTHERWISE.get(name, {key: value for key, value in SMALL.items() if key in fields})
    return registry.build("model", {"name": name, **small}, shape=shape, classes=classes)


@SHAPES
@DTYPES
@pytest.mark.parametrize("solver", at_eta(solvers(), (0.0, 1.0)), ids=str)
def test_every_solver_takes_every_shape(solver, shape, dtype):
    model = GaussianMixture(registry.build("sde", "vp"), torch.randn(2, *shape, dtype=dtype), 0.3)
    loose = to_within(solver.solver, 1e-3)
    x = sample(model, 2, solver=loose, steps=4)
    assert x.shape == (2, *shape)
    assert x.dtype == dtype
    assert x.isfinite().all()


@SHAPES
@DTYPES
@pytest.mark.parametrize("sde", OTHER, ids=label)
@pytest.mark.parametrize("name", ["euler_maruyama", "heun", "srk"])
def test_a_process_that_is_not_gaussian_takes_every_shape(sde, name, shape, dtype):
    solver = registry.build("solver", {"name": name, "eta": 1.0})
    ts = Uniform()(sde, 200)[:5]
    noise = Noise(0, (3, *shape), dtype=dtype)
    x = sde.prior((3, *shape), dtype=dtype).icdf(noise.uniform()).to(dtype)
    for equation, times in ((sde, ts.flip(0)), (Reverse(Stationary(sde, shape)), ts)):
        out = solver.solve(equation, x, times, noise)
        assert out.shape == x.shape
        assert out.dtype == dtype
        assert out.isfinite().all()


@SHAPES
@pytest.mark.parametrize("name", registry.names("model"))
def test_every_network_takes_the_shapes_that_it_is_for(name, shape):
    """Or, as the U-Nets do for what is no image, says in one line what it is for."""
    classes = 0 if name == "ncsnv2" else 3  # which has no conditions
    try:
        net = network(name, shape, classes)
        refusal = ""
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert re.search(r"for data of another shape try model=\w+$", refusal)
        return
    x, noise = torch.randn(2, *shape), torch.tensor([-1.0, 0.5])
    for asked in (None, torch.tensor([0, 2])) if classes else (None,):
        out = net(x, noise, label=asked)
        assert out.shape == x.shape
        assert out.isfinite().all()
        out.square().sum().backward()
    with pytest.raises(InputError):
        net(torch.randn(2, *shape, 1), noise)
    with pytest.raises(InputError):
        net(x, noise[:1])


@pytest.mark.parametrize("name", registry.names("model"))
def test_every_network_takes_images_or_sequences(name):
    shape = (5, 8) if name == "unet1d" else (1, 8, 8)
    assert network(name, shape, classes=0)(torch.randn(2, *shape), torch.zeros(2)).shape == (2, *shape)
