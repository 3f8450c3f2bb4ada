"""Errors are one sentence that names the way out."""

from dataclasses import dataclass

import pytest

from scoresde.errors import InputError, check, nearest


@dataclass
class Thing:
    size: float = 1.0


def test_check_names_the_field_what_it_is_and_what_it_must_be():
    with pytest.raises(InputError, match=r"^Thing\.size = -1\.0, but it must be a number > 0$"):
        check(Thing(-1.0), "size", False, "a number > 0")
    check(Thing(), "size", True, "a number > 0")


def test_not_a_number_is_refused_even_where_the_comparison_is_lenient():
    thing = Thing(float("nan"))
    with pytest.raises(InputError, match="size = nan"):
        check(thing, "size", not thing.size < 0, "a number >= 0")


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_nearest_names_the_likely_one_and_all():
    assert nearest("vpp", ["ve", "vp", "edm"]) == "did you mean vp? (there are: edm, ve, vp)"
    assert nearest("zzz", ["ve", "vp"]) == "there are: ve, vp"
    assert nearest("vp", []) == "there are none"
