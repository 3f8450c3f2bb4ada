"""How much each noise level counts."""
