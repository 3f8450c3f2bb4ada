import re

import pytest
import torch

from scoresde.data.glyphs import Glyphs
from scoresde.errors import InputError


@pytest.mark.parametrize("color", [True, False])
def test_glyphs_are_what_they_say(color):
    data = Glyphs(size=24, color=color, n=200)
    found = data.load()
    assert len(found) == 200
    taken = found.take(torch.arange(200))
    assert taken.x.shape == (200, 3 if color else 1, 24, 24) == (200, *data.shape)
    assert taken.x.dtype == torch.float32
    assert (taken.x.amin(), taken.x.amax()) == data.range
    assert (taken.x.flatten(1).amax(1) > 0).all()  # none is empty
    assert taken.label.min() >= 0
    assert taken.label.max() < data.classes
    assert len(taken.label.unique()) > 55


def test_an_image_is_a_function_of_seed_and_number():
    rows = torch.tensor([7, 90_000, 3])
    x = Glyphs().load().take(rows).x
    again = Glyphs(n=2**24).load().take(rows.flip(0)).x.flip(0)
    assert torch.equal(x, again)
    other = Glyphs(seed=1).load().take(rows).x
    assert not any(torch.equal(a, b) for a, b in zip(x, other, strict=True))


def test_captions_say_what_is_there():
    data = Glyphs(size=48, n=2000)
    rows = torch.arange(600)
    taken, captions = data.load().take(rows), data.load().captions(rows)
    pattern = re.compile(r"a (small|medium-sized|large) (\w+) (rotated )?(\w), ([a-z ]+)")
    ink = (taken.x + 1).sum(1)
    across = (ink.sum(1) * torch.arange(48)).sum(1) / ink.sum((1, 2))
    down = (ink.sum(2) * torch.arange(48)).sum(1) / ink.sum((1, 2))
    places: dict[str, list[int]] = {}
    areas: dict[str, list[float]] = {}
    for i, caption in enumerate(captions):
        size, color, _, character, place = pattern.fullmatch(caption).groups()
        assert "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".index(character) == taken.label[i]
        areas.setdefault(size, []).append((ink[i] > 0.1).float().mean().item())
        if size == "small":
            places.setdefault(place, []).append(i)
        red, green, blue = taken.x[i].flatten(1).amax(1).tolist()
        assert {"red": red > max(green, blue), "blue": blue > red, "white": green == red == blue}.get(color, True)
    small, medium, large = (sum(areas[s]) / len(areas[s]) for s in ("small", "medium-sized", "large"))
    assert small < medium < large
    assert set(places) == {
        "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right",
    }  # fmt: skip
    for place, rows_there in places.items():
        x, y = across[rows_there], down[rows_there]
        assert (x < 24).all() if "left" in place else (x > 24).all() if "right" in place else True, place
        assert (y < 24).all() if "top" in place else (y > 24).all() if "bottom" in place else True, place
    plain = Glyphs(color=False).load().captions(torch.arange(50))
    assert not any("red" in caption or "blue" in caption for caption in plain)


def test_half_of_them_are_turned():
    captions = Glyphs().load().captions(torch.arange(2000))
    assert sum("rotated" in caption for caption in captions) == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("bad", [{"size": 4}, {"n": 0}, {"n": 2**24 + 1}, {"seed": -1}, {"color": 1}])
def test_bad_input_is_refused(bad):
    (field,) = bad
    with pytest.raises(InputError, match=field):
        Glyphs(**bad)
