"""The reverse of every process, at every η, has the marginals of the process: Fokker–Planck, without sampling."""

import pytest
import torch

from scoresde.analytic import GaussianMixture
from scoresde.reverse import Reverse

from .exact import F64, GAUSSIAN, label


def derivative(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sde", GAUSSIAN, ids=label)
def test_reverse_keeps_the_marginals(sde, eta):
    """∂p/∂t + ∂(b p)/∂x + ½ ∂²(γ² p)/∂x² = 0 for the reverse's drift b and diffusion γ, which run backwards."""
    model = GaussianMixture(
        sde, torch.tensor([[-1.0], [1.5]], dtype=F64), [0.2, 0.5], torch.tensor([0.4, 0.6], dtype=F64)
    )
    reverse = Reverse(model, eta=eta)
    for level in (-2.0, 0.0, 2.0):
        time = sde.time(torch.tensor(level, dtype=F64))
        spread = (sde.alpha(time) ** 2 * 2 + sde.var(time)).sqrt().item()
        x = (torch.linspace(-2.5, 2.5, 31, dtype=F64)[:, None] * spread).requires_grad_()
        t = time.expand(31).clone().requires_grad_()
        p = model.log_prob(x, t).exp()[:, None]
        change = derivative(p, t)[:, None]
        flow = derivative(reverse.drift(x, t) * p, x)
        spreading = derivative(derivative(reverse.gram(x, t, p), x), x) / 2
        scale = max(change.abs().max(), flow.abs().max(), spreading.abs().max())
        assert (change + flow + spreading).abs().max() < 1e-9 * scale
