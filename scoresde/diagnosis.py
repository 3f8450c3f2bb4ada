"""Where numbers stopped being finite."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["finite", "first_bad"]


def finite(tensors: list[Tensor]) -> Tensor:
    """The norm of all tensors together, shape (): finite where all of them are, in one pass over them."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def first_bad(
    kept: Mapping[str, Mapping[str, Tensor | None]], net: nn.Module, again: Sequence[Callable[[], Tensor]]
) -> str:
    """The first tensor that is not finite, by name.

    Args:
        kept: tensors by what they are and their names, in the order in which they are suspected: ``{"weight": …}``.
        net: the network.
        again: compute the loss once more, part by part.

    Returns:
        Such as ``the weight net.first.bias``, ``what the network is given``, ``the output of net.blocks.2``, ``the
        loss``, or that it is another process's.
    """
    for what, tensors in kept.items():
        bad = [
            name for name, x in tensors.items() if x is not None and x.is_floating_point() and not x.isfinite().all()
        ]
        if bad:
            others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return f"the {what} {bad[0]}".rstrip() + others
    with _watched(net) as seen:
        values = [float(part().detach()) for part in again]
    if seen:
        return seen[0]
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return "the loss of another process" if several and all(map(math.isfinite, values)) else "the loss"


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[str]]:
    """What in a network is not finite, in the order in which it comes about."""
    seen: list[str] = []

    def bad(values: Any) -> bool:
        values = values if isinstance(values, tuple) else (values,)
        return any(isinstance(x, Tensor) and x.is_floating_point() and not x.isfinite().all() for x in values)

    def before(_: nn.Module, given: Any) -> None:
        if bad(given):
            seen.append("what the network is given, the noised data,")

    def after(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_: nn.Module, __: Any, out: Any) -> None:
            if bad(out):
                seen.append(f"the output of {name}" if name else "the network's output")

        return look

    hooks = [net.register_forward_pre_hook(before)]
    hooks += [module.register_forward_hook(after(name)) for name, module in net.named_modules()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
