"""Which samples a command is asked for: n=16, seeds=7, seeds=0-15, seeds=[0,3,7-9]."""

import re
from collections.abc import Sequence
from typing import Any

from scoresde.errors import InputError

__all__ = ["pick_samples"]


def pick_samples(n: int | None, seed: int, seeds: Any) -> Sequence[int]:
    """A number for each sample: seed + i for sample i of a seed.

    Args:
        n: how many of one seed; None for 64, or as many as are named.
        seed: theirs.
        seeds: samples by name, each the first of its seed; None for none.

    Raises:
        InputError: for samples that are none, too many, or asked for in two ways.
    """
    if n is not None and n < 1:
        raise InputError(f"n = {n}, but it must be a whole number >= 1")
    if n is not None and n > 10**6:
        raise InputError(f"n = {n}, but a million is the most at a time: draw the others with another seed")
    if seeds is None:
        return range(seed, seed + (n or 64))
    found = _named(seeds)
    if seed or n not in (None, len(found)):
        twice = f"seed = {seed}" if seed else f"n = {n}"
        raise InputError(f"{twice} and seeds = {seeds}, of {len(found)}: give one of them")
    return found


def _named(given: Any) -> list[int]:
    """The seeds that ``7``, ``0-15`` or ``[0, 3, "7-9"]`` names.

    Raises:
        InputError: for what names none, or more than a million.
    """
    found: list[int] = []
    for part in given if isinstance(given, list) else str(given).split(","):
        low, _, high = str(part).replace(" ", "").partition("-")
        high = high or low
        if not re.fullmatch(r"\d{1,20} \d{1,20}", f"{low} {high}", re.ASCII) or int(low) > int(high):
            raise InputError(f"seeds = {given}, but it must name seeds: seeds=7, seeds=0-15 or seeds=[0,3,7-9]")
        if len(found) + int(high) - int(low) >= 10**6:
            raise InputError(f"seeds = {given}, but it must name a million at most: for more there is n, with one seed")
        found += range(int(low), int(high) + 1)
    if not found:
        raise InputError(f"seeds = {given}, but it must name seeds: seeds=7, seeds=0-15 or seeds=[0,3,7-9]")
    return found
