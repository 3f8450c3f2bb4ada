"""What a user did wrong, in one sentence."""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

__all__ = ["Assumed", "Diverged", "InputError", "check", "nearest", "printable", "typed"]


class Assumed(UserWarning):
    """What was assumed of a file that does not say."""


class InputError(ValueError):
    """Bad input: the message is one sentence that names what was got, what was wanted and the way out."""


class Diverged(RuntimeError):
    """A run met numbers that are not finite: the message says where, and what is left of it."""


def nearest(word: str, options: Iterable[str]) -> str:
    """What exists, and which of it the user probably meant.

    Args:
        word: what was asked for.
        options: the names that exist.

    Returns:
        ``"did you mean vp? (there are: edm, ve, vp)"``, without the question where nothing is close.
    """
    names = sorted(options)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    there = f"there are: {', '.join(names)}" if names else "there are none"
    return f"did you mean {close[0]}? ({there})" if close else there


def printable(message: str) -> str:
    """A message that may quote a file: without control characters, and of a length that can be read."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    return text if len(text) <= 600 else f"{text[:600]} …"


def check(owner: object, field: str, ok: bool, want: str) -> None:
    """Refuse a component's field.

    Args:
        owner: the component, a dataclass instance.
        field: the field's name.
        ok: whether the value is right; a number that is NaN is refused whatever ``ok`` says.
        want: what would be right: ``"a number > 0"``.

    Raises:
        InputError: ``VP.beta_min = -1.0, but it must be a number > 0``.
    """
    value = getattr(owner, field)
    if not ok or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{type(owner).__name__}.{field} = {value!r}, but it must be {want}")


def typed(owner: Any) -> None:
    """Refuse fields of a dataclass that are not of their declared type: numbers, text, options of a Literal.

    Raises:
        InputError: ``VP.beta_min = 'x', but it must be a number``.
    """
    for field in dataclasses.fields(owner):
        value, wanted = getattr(owner, field.name), field.type
        number = isinstance(value, int | float) and not isinstance(value, bool)
        ok, want = True, ""
        if wanted is float:
            ok, want = number, "a number"
        elif wanted is int:
            ok, want = number and isinstance(value, int), "a whole number"
        elif wanted is bool:
            ok, want = isinstance(value, bool), "true or false"
        elif wanted is str:
            ok, want = isinstance(value, str), "text"
        elif get_origin(wanted) is Literal:
            ok, want = value in get_args(wanted), f"one of {', '.join(get_args(wanted))}"
        if not ok:
            check(owner, field.name, ok, want)
