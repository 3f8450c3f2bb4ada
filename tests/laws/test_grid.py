"""Every grid, on every process, falls from t_max exactly to t_min exactly in as many steps as were asked."""

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError
from scoresde.sde.base import GaussianSDE

from .exact import F64, PROCESSES, label

GRIDS = [registry.build("grid", name) for name in registry.names("grid")]


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("sde", PROCESSES, ids=label)
@pytest.mark.parametrize("grid", GRIDS, ids=label)
def test_grid_falls_from_end_to_end(grid, sde, steps):
    if not isinstance(sde, GaussianSDE) and label(grid) != "Uniform":
        with pytest.raises(InputError, match="needs a GaussianSDE"):
            grid(sde, steps)
        return
    ts = grid(sde, steps)
    assert ts.shape == (steps + 1,)
    assert ts.dtype == F64
    assert ts.device.type == "cpu"
    assert ts[0].item() == sde.t_max
    assert ts[-1].item() == sde.t_min
    assert (ts.diff() < 0).all()


@pytest.mark.parametrize("grid", GRIDS, ids=label)
@pytest.mark.parametrize("steps", [0, -1, 2.0, "2", True, None])
def test_steps_that_are_none_are_refused(grid, steps):
    with pytest.raises(InputError, match=r"^steps = .* must be a whole number >= 1$"):
        grid(registry.build("sde", "vp"), steps)


@pytest.mark.parametrize("grid", GRIDS, ids=label)
def test_halving_the_steps_takes_every_other_time(grid):
    """A grid is a map of u: it does not depend on how many steps there are."""
    sde = registry.build("sde", "vp")
    torch.testing.assert_close(grid(sde, 16)[::2], grid(sde, 8), rtol=1e-12, atol=0)
