"""How often a network is asked about each sample."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Count"]


class Count:
    """Counts the network evaluations of a run's samples, as a hook before the network.

    A row that is asked about again as it was last waits for others, whose steps are smaller: it is not counted. Solvers
    that ask about several times at once have no rows for their samples, and are counted as a whole.

    Args:
        rows: all samples of the run, those that are thrown away with them.
        each: whether to look at the rows, which may differ where a solver chooses its steps.
    """

    def __init__(self, rows: int, each: bool) -> None:
        self.rows, self.each, self.total = rows, each, 0
        self.parts: list[Tensor] = []
        self.last: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Another part of the samples follows."""
        self.last = None

    def __call__(self, _: Any, arguments: tuple[Any, ...]) -> None:
        """One evaluation of a batch x at the times t."""
        self.total += len(arguments[0])
        if not self.each:
            return
        x, t = arguments[0], arguments[1].to(arguments[0].device).expand(len(arguments[0]))
        if self.last is None:
            self.parts.append(t.new_ones(len(x)))
        elif len(x) != len(self.parts[-1]):
            self.parts[-1] = t[:0]
        else:
            self.parts[-1] += (x != self.last[0]).flatten(1).any(1) | (t != self.last[1])
        self.last = x.clone(), t.clone()

    def __str__(self) -> str:
        """``21``, or ``14 to 26, on average 19.5,`` where the samples differ."""
        import torch

        if sum(map(len, self.parts)) != self.rows:
            return f"{self.total / self.rows:.4g}"
        nfe = torch.cat(self.parts)
        least, most = nfe.min().item(), nfe.max().item()
        return f"{least:.0f}" if least == most else f"{least:.0f} to {most:.0f}, on average {nfe.mean():.4g},"
