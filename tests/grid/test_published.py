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


@pytest.mark.parametrize(
    ("spacing", "indices"),
    [
        ("leading", [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]),
        ("linspace", [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]),
        ("trailing", [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]),
    ],
)
def test_discrete_is_the_papers_table(spacing, indices):
    """Lin et al. 2023, table 2: T = 1000, S = 10."""
    made = grid("discrete", spacing=spacing)
    assert made.indices(10).tolist() == indices
    sde = registry.build("sde", "vp")
    # the times at which Song et al. 2021 and DPM-Solver read the chain, k/N, but for t_min
    right = torch.tensor([*indices, 0], dtype=F64) / 1000
    torch.testing.assert_close(made(sde, 10), right, rtol=0, atol=sde.t_min)


def test_trailing_on_the_chain_is_ddpm_s_noise():
    """ᾱ_k of β_i = β(i/N)/N, the chain that VP is the limit of."""
    sde = registry.build("sde", "vp")
    i = torch.arange(1, 1001, dtype=F64)
    chain = (1 - sde.beta(i / 1000) / 1000).cumprod(0)
    made = grid("discrete")
    k = made.indices(10).long() - 1
    torch.testing.assert_close(sde.alpha(made(sde, 10)[:-1]) ** 2, chain[k], rtol=0.05, atol=1e-4)


def test_more_steps_than_indices_are_refused():
    with pytest.raises(InputError, match=r"^Discrete cannot make 11 steps: its chain has 10; take fewer$"):
        grid("discrete", chain=10)(registry.build("sde", "vp"), 11)
    with pytest.raises(InputError, match=r"^Discrete\.chain = 0, but it must be a whole number >= 1$"):
        grid("discrete", chain=0)


@pytest.mark.parametrize("name", ["vp", "subvp", "ve", "edm", "cosine", "rectified"])
def test_quadratic_sigma_cosine_and_regular_are_in_equal_steps(name):
    sde = registry.build("sde", name)

    def equal(values, tolerance):
        steps = values.diff()
        torch.testing.assert_close(steps, steps.mean().expand(12), rtol=tolerance, atol=0)

    equal(grid("quadratic")(sde, 12).sqrt(), 1e-12)
    regular = grid("regular", floor=0.1, ceiling=20.0)
    clocks = {
        grid("sigma"): lambda s: s,
        grid("cosine"): torch.arctan,
        regular: lambda s: ((s + 0.1) / (s + 20)).log(),
    }
    for made, clock in clocks.items():
        equal(clock((-sde.log_snr(made(sde, 12)) / 2).exp()), 1e-6)


def test_cosine_is_equal_steps_of_a_cosine_processs_time():
    """α = cos(πt/2), without an offset."""
    sde = registry.build("sde", "edm")
    turns = grid("cosine")(sde, 9).arctan() / (torch.pi / 2)
    torch.testing.assert_close(turns, torch.linspace(turns[0], turns[-1], 10, dtype=F64), rtol=1e-9, atol=0)


def test_regular_is_log_snr_in_the_middle_and_flat_at_both_ends():
    sde = registry.build("sde", "ve")

    def regular(floor, ceiling):
        return grid("regular", floor=floor, ceiling=ceiling)(sde, 9)

    torch.testing.assert_close(regular(1e-7, 1e7), grid("log_snr")(sde, 9), rtol=1e-4, atol=0)
    for values in (sde.std(regular(1e4, 1e8)), 1 / sde.std(regular(1e-8, 1e-4))):
        steps = values.diff()
        torch.testing.assert_close(steps, steps.mean().expand(9), rtol=1e-2, atol=0)


@pytest.mark.parametrize("field", ["floor", "ceiling"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_a_clock_without_ends_is_refused(field, value):
    with pytest.raises(
        InputError, match=rf"^Regular\.{field} = .* must be a number > 0|^Regular\.ceiling = .* > floor"
    ):
        grid("regular", **{field: value})


@pytest.mark.parametrize(
    "times", [[0.5], [0.5, 0.5], [0.1, 0.5], [1.0, float("nan")], ["a", "b"], [True, False], 0.5, "ab", None]
)
def test_times_that_are_no_grid_are_refused(times):
    from scoresde.grid.explicit import Explicit

    with pytest.raises(InputError, match=r"^Explicit\.times = .* must be falling numbers, two at the least$"):
        Explicit(times)


def test_explicit_times_are_given_and_inside_the_process():
    sde = registry.build("sde", "vp")
    with pytest.raises(InputError, match=r"^Explicit has no times: give them, as in grid\.times="):
        grid("explicit")(sde, 3)
    for times in ([2.0, 0.5], [1.0, 0.0]):
        with pytest.raises(InputError, match=r"^t = .* is outside VP, whose times are \[1e-05, 1\]$"):
            grid("explicit", times=times)(sde, 1)
