"""Flow matching: against the velocity dx_t/dt of the path from data to noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.loss.base import Loss
from scoresde.loss.time.base import TimeSampler
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.score import Cond, Denoiser
from scoresde.tensor import expand

__all__ = ["FlowMatching"]


@dataclass(frozen=True)
class FlowMatching(Loss):
    """‖(α′ x̂_0 + s′ ε̂) − (α′ x_0 + s′ ε)‖², the mean over coordinates, at one time t for each sample.

    The velocity is that of the probability-flow ODE, and the loss denoising score matching with λ = g⁴/4; on
    ``sde=rectified`` it is the plain ε − x_0 of rectified flows.

    Args:
        coupling: whether a batch's noise (a part's, where batches come in parts) is dealt to its samples so that
            the sum of the squared distances ‖x_0 − ε‖² is least. The ODE's paths become straighter and its ends still
            have the law of the data; but what was learned is then no score, so that a reverse SDE, or another process,
            is not to be had from it.
        time: how times are drawn, ``loss/time=uniform``, ``log_normal``.

    Source: Lipman et al. 2023, "Flow matching for generative modeling", eq. 9; coupling: Tong et al. 2024, "Improving
    and generalizing flow-based generative models with minibatch optimal transport", algorithm 3.
    """

    coupling: bool = False
    time: TimeSampler = nested("loss/time", "uniform")

    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample, shape (B,); see `Loss`."""
        sde = model.sde
        t, importance = self.time(sde, noise.stratified())
        eps = noise.normal()
        if self.coupling:
            eps = eps[_assignment(x0, eps)]
        said = model(sde.perturb(x0, t, eps), t, cond)
        rate, std = sde.drift_rate(t), sde.std(t)
        # s s′ = ½ (s²)′ = ½ g² + s² α′/α
        on_x0, on_eps = (
            expand(c, x0) for c in (rate * sde.alpha(t), sde.diffusion_squared(t) / (2 * std) + std * rate)
        )
        error = on_x0 * (said.x0 - x0) + on_eps * (said.eps - eps)
        return importance.to(error.dtype) * error.square().flatten(1).mean(1)


def _assignment(x0: Tensor, eps: Tensor) -> Tensor:
    """Which row of eps each row of x0 gets."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0.flatten(1).double(), eps.flatten(1).double()).square()
    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(x0.device)
