"""What the readers of NVIDIA's pickles share."""

__all__: list[str] = []
