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
        embedding: the width of a vector that each sample may be conditioned on, 0 for none.
        tokens: the width of a sequence of tokens that each sample may be conditioned on, 0 for none.

    Raises:
        InputError: for a field out of range.
    """

    shape: tuple[int, ...]
    classes: int
    embedding: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        """Check the fields; a network builds its layers after this."""
        nn.Module.__init__(self)
        typed(self)
        sizes = len(self.shape) > 0 and all(size > 0 for size in self.shape)
        check(self, "shape", sizes, "the shape of one sample, such as (3, 32, 32)")
        check(self, "classes", self.classes >= 0, "a number of classes, 0 for none")
        check(self, "embedding", self.embedding >= 0, "the width of a vector, 0 for none")
        check(self, "tokens", self.tokens >= 0, "the width of a token, 0 for none")

    def check_halves(self, levels: int, field: str) -> None:
        """Refuse a shape whose sides, all but the first, cannot be halved from each of so many levels to the next.

        Args:
            levels: how many.
            field: what has one entry for each.

        Raises:
            InputError: naming the side and what would be right.
        """
        self.check_divides(2 ** (levels - 1), f"with {levels} {field}", f"fewer {field}")

    def check_divides(self, factor: int, why: str, instead: str) -> None:
        """Refuse a shape whose sides, all but the first, are no multiples of a number.

        Args:
            factor: the number.
            why, instead: what asks for it, and what else could be done.

        Raises:
            InputError: naming the side and what would be right.
        """
        sides = ("height", "width") if len(self.shape) == 3 else ("length",)
        for side, size in zip(sides, self.shape[1:], strict=True):
            if size % factor:
                near = [str(n) for n in (size // factor * factor, (size // factor + 1) * factor) if n]
                raise InputError(
                    f"{type(self).__name__}.shape = {self.shape!r}, but {why} the {side} must be a multiple of "
                    f"{factor}: try {' or '.join(near)}, or {instead}"
                )

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        *,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """The network's output.

        Args:
            x: scaled data, shape (B, *shape).
            noise: the noise level ¼ ln(s/α), about in [-4, 2], shape (B,).
            label: the classes, integers in [0, classes) or -1 for none, shape (B,); None is -1 for all.
            embedding: a vector for each sample, shape (B, embedding); zeros are none, and None is zeros for all.
            tokens: a sequence for each sample, of any length L, shape (B, L, tokens); a token of zeros is none, which
                pads the shorter sequences of a batch, and None is zeros for all.

        Returns:
            Shape (B, *shape).

        Raises:
            InputError: for a wrong shape, or a condition that the network was not built for.
        """

    def check_input(
        self,
        x: Tensor,
        noise: Tensor,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> None:
        """Refuse what `forward` cannot take, by shapes alone: looking at values would wait for the device.

        Args:
            x, noise, label, embedding, tokens: as in `forward`.

        Raises:
            InputError: for a wrong shape, or a condition that the network was not built for.
        """
        name, batch = type(self).__name__, x.shape[:1]
        if x.shape[1:] != tuple(self.shape):
            wanted = ", ".join(["B", *map(str, self.shape)])
            raise InputError(f"{name} got data of shape {tuple(x.shape)}, but was built for ({wanted})")
        if noise.shape != batch:
            raise InputError(f"{name} got noise of shape {tuple(noise.shape)}, but it must be {tuple(batch)}")
        self.check_conditions(x.shape[0], label, embedding, tokens)

    def check_conditions(
        self, n: int, label: Tensor | None = None, embedding: Tensor | None = None, tokens: Tensor | None = None
    ) -> None:
        """Refuse conditions that `forward` cannot take for a batch of n, by shapes alone.

        Args:
            n: how many samples.
            label, embedding, tokens: as in `forward`.

        Raises:
            InputError: as `check_input`.
        """
        name = type(self).__name__
        if label is not None and self.classes == 0:
            raise InputError(f"{name} got labels, but was built with classes = 0: leave label=None")
        if label is not None and label.shape != (n,):
            raise InputError(f"{name} got label of shape {tuple(label.shape)}, but it must be ({n},)")
        if embedding is not None and self.embedding == 0:
            raise InputError(f"{name} got an embedding, but was built with embedding = 0: leave embedding=None")
        if embedding is not None and embedding.shape != (n, self.embedding):
            wanted = f"({n}, {self.embedding})"
            raise InputError(f"{name} got embedding of shape {tuple(embedding.shape)}, but it must be {wanted}")
        if tokens is not None and self.tokens == 0:
            raise InputError(f"{name} got tokens, but was built with tokens = 0: leave tokens=None")
        if tokens is not None and (tokens.ndim != 3 or (tokens.shape[0], tokens.shape[2]) != (n, self.tokens)):
            wanted = f"({n}, L, {self.tokens})"
            raise InputError(f"{name} got tokens of shape {tuple(tokens.shape)}, but it must be {wanted}")
