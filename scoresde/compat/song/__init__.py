"""The layout of score_sde_pytorch's files: the names of their tensors, and what can be told from them."""

__all__: list[str] = []
