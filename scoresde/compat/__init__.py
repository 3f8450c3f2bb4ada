"""Published checkpoints of other projects, each as a `Denoiser`."""

from scoresde.compat.base import Format

__all__ = ["Format"]
