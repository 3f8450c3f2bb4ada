"""How far samples are from data."""
