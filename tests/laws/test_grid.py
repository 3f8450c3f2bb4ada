"""Every grid, on every process, falls from t_max to t_min in as many steps as were asked; what does not says so."""

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError
from scoresde.grid.base import SpacedGrid

from .exact import F64, PROCESSES, label

GRIDS = [registry.build("grid", name) for name in registry.names("grid") if name != "explicit"]
DISCRETE = [registry.build("grid", {"name": "discrete", "spacing": s}) for s in ("trailing", "linspace", "leading")]
SPACED = [grid for grid in GRIDS if isinstance(grid, SpacedGrid)]


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("sde", PROCESSES, ids=label)
@pytest.mark.parametrize("grid", GRIDS, ids=label)
def test_grid_falls_from_end_to_end(grid, sde, steps):
    if not isinstance(sde, grid.needs):
        with pytest.raises(InputError, match=r"needs a GaussianSDE, .*; grids that work: .*\buniform$"):
            grid(sde, steps)
        return
    ts = grid(sde, steps)
    assert ts.shape == (steps + 1,)
    assert ts.dtype == F64
    assert ts.device.type == "cpu"
    assert ts[0].item() == sde.t_max
    assert ts[-1].item() == sde.t_min
    assert (ts.diff() < 0).all()


@pytest.mark.parametrize("grid", [*GRIDS, registry.build("grid", "explicit")], ids=label)
@pytest.mark.parametrize("steps", [0, -1, 2.0, "2", True, None])
def test_steps_that_are_none_are_refused(grid, steps):
    with pytest.raises(InputError, match=r"^steps = .* must be a whole number >= 1$"):
        grid(registry.build("sde", "vp"), steps)


@pytest.mark.parametrize("grid", SPACED, ids=label)
def test_halving_the_steps_takes_every_other_time(grid):
    """A spaced grid is a map of u: it does not depend on how many steps there are."""
    sde = registry.build("sde", "vp")
    torch.testing.assert_close(grid(sde, 16)[::2], grid(sde, 8), rtol=1e-12, atol=0)


def test_every_grid_is_spaced_or_has_a_law_of_its_own():
    assert {label(grid) for grid in GRIDS} - {label(grid) for grid in SPACED} <= {"Discrete"}


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 999, 1000])
@pytest.mark.parametrize("sde", PROCESSES, ids=label)
@pytest.mark.parametrize("grid", DISCRETE, ids=lambda grid: grid.spacing)
def test_a_discrete_grid_steps_on_whole_indices_and_leaves_the_chain_last(grid, sde, steps):
    ts = grid(sde, steps)
    assert (ts.diff() < 0).all()
    k = (ts - sde.t_min) / (sde.t_max - sde.t_min) * grid.chain
    torch.testing.assert_close(k, k.round(), rtol=0, atol=1e-9)
    assert ts[-1] == sde.t_min
    assert k[-2] >= 0.999
    assert ts[0] == sde.t_max if grid.spacing != "leading" else ts[0] <= sde.t_max


@pytest.mark.parametrize("sde", PROCESSES, ids=label)
def test_an_explicit_grid_is_what_was_given(sde):
    times = (sde.t_max, 0.4 * sde.t_max, sde.t_max / 5)
    grid = registry.build("grid", {"name": "explicit", "times": list(times)})
    assert grid.steps == 2
    assert grid(sde, 2).tolist() == list(times)
    assert grid == type(grid)(list(times))
    with pytest.raises(InputError, match=r"^steps = 3, but Explicit.times make 2: leave steps out$"):
        grid(sde, 3)
