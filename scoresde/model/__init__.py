"""Networks, blind to SDEs."""

from scoresde.model.base import Network

__all__ = ["Network"]
