"""Weightings, against the papers' own: on the error of ε or of x_0."""

import pytest
import torch

from scoresde.registry import build, names
from scoresde.sde.base import GaussianSDE

PROCESSES = [s for s in names("sde") if isinstance(build("sde", s), GaussianSDE)]


def on_eps_and_x0(weighting, sde):
    """SNR, and what the squared errors of ε and of x_0 are multiplied by: the score's is 1/s and α/s² times them."""
    t = torch.linspace(sde.t_min, sde.t_max, 9, dtype=torch.float64)
    alpha, var = sde.alpha(t), sde.var(t)
    lam = weighting(sde, t)
    return alpha**2 / var, lam / var, lam * (alpha / var) ** 2


@pytest.mark.parametrize("sde", PROCESSES)
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr(sde, gamma):
    snr, eps, x0 = on_eps_and_x0(build("loss/weighting", {"name": "min_snr", "gamma": gamma}), build("sde", sde))
    torch.testing.assert_close(x0, snr.clamp(max=gamma))
    torch.testing.assert_close(eps, snr.clamp(max=gamma) / snr)
    soft = {"name": "min_snr", "gamma": gamma, "soft": True}
    snr, _, x0 = on_eps_and_x0(build("loss/weighting", soft), build("sde", sde))
    torch.testing.assert_close(x0, 1 / (1 / snr + 1 / gamma))


@pytest.mark.parametrize("sde", PROCESSES)
def test_p2(sde):
    snr, eps, _ = on_eps_and_x0(build("loss/weighting", {"name": "p2", "gamma": 0.5, "k": 2.0}), build("sde", sde))
    torch.testing.assert_close(eps, (2 + snr) ** -0.5)
    _, eps, _ = on_eps_and_x0(build("loss/weighting", {"name": "p2", "gamma": 0.0}), build("sde", sde))
    torch.testing.assert_close(eps, torch.ones_like(eps))
