"""Equal steps of log-SNR."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import Grid, gaussian
from scoresde.sde.base import Process

__all__ = ["LogSNR"]


@dataclass(frozen=True)
class LogSNR(Grid):
    """Equal steps of log(α²/s²): every step removes the same share of the noise.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Lu et al. 2022, "DPM-Solver", section 4.1 (uniform λ = ½ log-SNR).
    """

    def times(self, process: Process, u: Tensor) -> Tensor:
        """Linear in log-SNR, then the process's inverse."""
        sde = gaussian(self, process)
        first, last = (sde.log_snr(u.new_tensor(t)) for t in (sde.t_max, sde.t_min))
        return sde.time(first + u * (last - first))
