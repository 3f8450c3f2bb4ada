"""What a network is: a map of a batch and its noise levels to a batch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from scoresde.errors import InputError, check, typed

__all__ = ["Network"]


@dataclass(eq=False, repr=False)
class Network(nn.Module, ABC):
    """A network blind to SDEs: it reads scaled data and a noise level, and a parameterization says what comes out.

    Args:
        shape: the shape of one sample, such as (3, 32, 32) or (2,); supplied by the program from the data.
        classes: the number of class labels, 0 for none; supplied by the program from the data.

    Raises:
        InputError: for a field out of range.
    """

    shape: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        """Check the fields; a network builds its layers after this."""
        nn.Module.__init__(self)
        typed(self)
        sizes = len(self.shape) > 0 and all(size > 0 for size in self.shape)
        check(self, "shape", sizes, "the shape of one sample, such as (3, 32, 32)")
        check(self, "classes", self.classes >= 0, "a number of classes, 0 for none")

    @abstractmethod
    def forward(self, x: Tensor, noise: Tensor, *, label: Tensor | None = None) -> Tensor:
        """The network's output.

        Args:
            x: scaled data, shape (B, *shape).
            noise: the noise level ¼ ln(s/α), about in [-4, 2], shape (B,).
            label: the classes, integers in [0, classes) or -1 for none, shape (B,); None is -1 for all.

        Returns:
            Shape (B, *shape).

        Raises:
            InputError: for a wrong shape, or labels where classes = 0.
        """

    def check_input(self, x: Tensor, noise: Tensor, label: Tensor | None) -> None:
        """Refuse what `forward` cannot take, by shapes alone: looking at values would wait for the device.

        Args:
            x, noise, label: as in `forward`.

        Raises:
            InputError: for a wrong shape, or labels where classes = 0.
        """
        name, batch = type(self).__name__, x.shape[:1]
        if x.shape[1:] != tuple(self.shape):
            wanted = ", ".join(["B", *map(str, self.shape)])
            raise InputError(f"{name} got data of shape {tuple(x.shape)}, but was built for ({wanted})")
        if noise.shape != batch:
            raise InputError(f"{name} got noise of shape {tuple(noise.shape)}, but it must be {tuple(batch)}")
        if label is not None and self.classes == 0:
            raise InputError(f"{name} got labels, but was built with classes = 0: leave label=None")
        if label is not None and label.shape != batch:
            raise InputError(f"{name} got label of shape {tuple(label.shape)}, but it must be {tuple(batch)}")
