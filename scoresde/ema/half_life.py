"""A half-life in images, as EDM averages."""

from dataclasses import dataclass

from scoresde.ema.base import Averaging
from scoresde.errors import check, typed

__all__ = ["HalfLife"]


@dataclass(frozen=True)
class HalfLife(Averaging):
    """d = ½^(batch/H), H = min(images, rampup · those seen before): a step's weight halves with every H images.

    Args:
        images: the half-life, > 0.
        rampup: its share of the images seen so far while these are few, > 0; the first step forgets the start.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", official code,
    `training_loop.py`.
    """

    images: float = 500_000.0
    rampup: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what is no half-life."""
        typed(self)
        for field in ("images", "rampup"):
            check(self, field, 0 < getattr(self, field) < float("inf"), "a number > 0")

    def decays(self, step: int, batch: int) -> tuple[float, ...]:
        """The one."""
        life = min(self.images, self.rampup * step * batch)
        return (0.5 ** (batch / life) if life else 0.0,)
