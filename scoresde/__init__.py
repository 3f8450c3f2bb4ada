"""scoresde: continuous-time score-based generative models, from dx = a(x, t) dt + σ(x, t) dw to samples."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoresde.sampling import sample

__all__ = ["__version__", "sample"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `sample` when it is asked for: a command's --help need not wait for torch."""
    if name == "sample":
        from scoresde.sampling import sample

        return sample
    raise AttributeError(f"module 'scoresde' has no attribute {name!r}")
