"""What networks are made of."""

__all__: list[str] = []
