"""Where each grid puts its times; that all fall from end to end is in laws/test_grid.py."""

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError

F64 = torch.float64


def grid(name, **fields):
    return registry.build("grid", {"name": name, **fields})


def test_karras_is_his_formula():
    sde = registry.build("sde", "edm")
    for rho in (3.0, 7.0):
        i = torch.arange(19, dtype=F64) / 18
        right = (80 ** (1 / rho) + i * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
        torch.testing.assert_close(grid("karras", rho=rho)(sde, 18), right, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["vp", "ve", "cosine"])
def test_karras_spreads_the_noise_level_of_any_process(name):
    sde = registry.build("sde", name)
    ts = grid("karras", rho=5.0)(sde, 12)
    root = (-sde.log_snr(ts) / 2 / 5).exp()
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(12), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["vp", "subvp", "ve", "edm", "cosine", "rectified"])
def test_log_snr_is_in_equal_steps(name):
    sde = registry.build("sde", name)
    steps = sde.log_snr(grid("log_snr")(sde, 12)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(12), rtol=1e-7, atol=0)


def test_karras_of_a_large_rho_is_log_snr():
    sde = registry.build("sde", "vp")
    torch.testing.assert_close(grid("karras", rho=1e6)(sde, 9), grid("log_snr")(sde, 9), rtol=1e-3, atol=0)


def test_uniform_is_in_equal_steps():
    sde = registry.build("sde", "vp")
    ts = grid("uniform")(sde, 4)
    torch.testing.assert_close(ts, torch.linspace(1, 1e-5, 5, dtype=F64))


def test_times_that_coincide_are_refused():
    sde = registry.build("sde", {"name": "edm", "t_min": 1.0, "t_max": 1.0 + 1e-14})
    with pytest.raises(InputError, match=r"^Uniform cannot make 1000 steps: times would coincide; take fewer$"):
        grid("uniform")(sde, 1000)


@pytest.mark.parametrize("rho", [0.0, -7.0, float("nan"), float("inf")])
def test_a_rho_that_is_none_is_refused(rho):
    with pytest.raises(InputError, match=r"^Karras\.rho = .* must be a number > 0$"):
        grid("karras", rho=rho)
