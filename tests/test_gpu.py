"""On a GPU: the numbers of the CPU, and no waiting inside a step. Skips by itself where there is none."""

import pytest
import torch

from scoresde import sample
from scoresde.analytic import GaussianMixture
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.sampling import trajectory
from scoresde.score import Denoiser
from tests.laws.exact import RUNNING

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

# torchsde reads its clock; a step size, and where a window stands, is decided by what the device found
STEPPERS = [s for s in RUNNING if s not in ("srk", "torchsde", "picard") and not build("solver", s).adaptive]


def test_noise_is_the_cpu_s():
    here, there = (Noise(5, (7, 3), device=device, dtype=torch.float64) for device in ("cpu", "cuda"))
    assert torch.equal(here.uniform(), there.uniform().cpu())
    assert torch.allclose(here.normal(), there.normal().cpu(), rtol=1e-12)


@pytest.mark.parametrize("solver", RUNNING)
def test_samples_are_the_cpu_s(solver):
    mixture = GaussianMixture(build("sde", "vp"), torch.randn(3, 4, dtype=torch.float64), 0.1)
    here = sample(mixture, 16, solver=build("solver", solver), steps=10)
    there = sample(mixture.to("cuda"), 16, solver=build("solver", solver), steps=10)
    assert torch.allclose(here, there.cpu(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", STEPPERS)
def test_no_step_waits_for_the_device(solver):
    net = build("model", {"name": "mlp", "width": 32, "depth": 2}, shape=(4,), classes=0)
    model = Denoiser(net, build("sde", "vp"), build("param", "eps")).to("cuda").eval()
    path = trajectory(model, 8, solver=build("solver", solver), steps=5)
    next(path)  # coefficients are made, and what they need is sent
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        *_, (t, _) = path
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert t == 0
