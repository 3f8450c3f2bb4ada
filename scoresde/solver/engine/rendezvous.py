"""Outside engines that know one sample: an engine for each, whose drift calls meet in one batched network call."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import Diverged, InputError
from scoresde.sde.base import SDE

__all__ = ["Drift", "report_each", "solve_each"]

Drift = Callable[[Tensor, float], Tensor]
"""a(x, t) of one sample, shape (1, ...), on the CPU. Raises `Diverged` where state or drift is not finite."""

_AT_ONCE = 256  # engines; of a larger batch the others wait until one is done


class _Abandoned(BaseException):
    """Ends an engine whose caller has gone."""


def report_each(
    sde: SDE, x: Tensor, ts: Tensor, engine: Callable[[Drift, Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """What `Solver.iterate` yields, from `solve_each` once the start is reported.

    Raises:
        InputError: for a state whose gradients would be lost.
    """
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            "an engine with steps of its own carries no gradients, and x requires them: give x.detach(), or take a "
            "solver that steps along the grid"
        )
    yield ts[0], x
    yield from zip(ts[1:], solve_each(sde, x, ts, engine)[1:], strict=True)


@torch.no_grad()
def solve_each(sde: SDE, x: Tensor, ts: Tensor, engine: Callable[[Drift, Tensor], Tensor]) -> Tensor:
    """Solve dx/dt = a(x, t) by an engine for each sample, so that adaptive steps are the sample's own.

    Each engine runs in a thread and waits at its drift calls until all others do; then the network is called once, with
    a time for each sample. It always sees the whole batch, every sample in its own row: done ones as they were last.
    So a sample's bits depend on the batch's size, and on nothing else of it.

    Args:
        sde: whose drift it is, called in this thread only.
        x: the state at ts[0], shape (B, ...).
        ts: times, shape (n,); engines may ask a rounding outside of them.
        engine: from a drift and a start, shape (1, ...) on the CPU, to the states at ts, shape (n, 1, ...). It raises
            `Diverged` where it cannot go on.

    Returns:
        Shape (n, B, ...). A sample that diverged is NaN at all times but the first.
    """
    low, high = ts.min().item(), ts.max().item()
    path = torch.full((len(ts), *x.shape), torch.nan, dtype=x.dtype)
    path[0] = x
    states = [path[0, i : i + 1] for i in range(len(x))]
    times = [ts[0].item()] * len(x)
    heard: SimpleQueue[tuple[int, Any, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Tensor | BaseException]] = [SimpleQueue() for _ in states]

    def run(i: int, start: Tensor) -> None:
        def drift(y: Tensor, t: float) -> Tensor:
            heard.put((i, y, t))
            answer = answers[i].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            with torch.inference_mode():
                heard.put((i, engine(drift, start), None))
        except BaseException as error:  # the caller's thread raises it
            heard.put((i, error, None))

    able = path[0].isfinite().flatten(1).all(1).tolist()
    waiting = [Thread(target=run, args=(i, states[i]), daemon=True) for i in reversed(range(len(x))) if able[i]]
    started: list[Thread] = []
    running, asking = 0, list[int]()
    try:
        while waiting or running:
            while waiting and running < _AT_ONCE:
                thread = waiting.pop()
                thread.start()
                started.append(thread)
                running += 1
            i, said, t = heard.get()
            if t is not None:
                states[i], times[i] = said.to(x.dtype), min(max(t, low), high)
                asking.append(i)
            else:
                running -= 1
                if isinstance(said, Tensor):
                    path[:, i] = said[:, 0]
                elif not isinstance(said, Diverged):
                    raise said
            if asking and len(asking) == running and not (waiting and running < _AT_ONCE):
                batch = torch.cat(states).to(x.device)
                slope = sde.drift(batch, torch.tensor(times, dtype=torch.float64, device=x.device)).cpu()
                finite = (slope.isfinite() & batch.cpu().isfinite()).flatten(1).all(1).tolist()
                for i in asking:
                    answers[i].put(slope[i : i + 1] if finite[i] else Diverged(f"not finite at t = {times[i]:.3g}"))
                asking.clear()
    finally:
        for answer in answers:
            answer.put(_Abandoned())
        for thread in started:
            thread.join()
    return path.to(x.device)
