import io

import numpy as np
import pytest
import torch
from PIL import Image

from scoresde.data.folder import Folder
from scoresde.errors import Assumed, InputError

from .pictures import deep_png, encoded, pixels, scaled


def fill(root, names, channels=3):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(i, channels=channels)))
    return Folder(str(root), mode="RGB" if channels == 3 else "L")


def test_images_are_what_they_say(tmp_path):
    data = fill(tmp_path, ["b.png", "a.png", "c.PNG"])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    found = data.load()
    assert len(found) == 3
    assert data.shape == (3, 6, 8)
    assert data.classes == 0
    taken = found.take(torch.tensor([1, 0, 1]))
    assert taken.label is None
    assert taken.x.dtype == torch.float32
    assert taken.x.is_contiguous()
    for x, i in zip(taken.x, (0, 1, 0), strict=True):  # in the order of names
        np.testing.assert_allclose(x.numpy(), scaled(pixels(i)), atol=1e-6)
    assert found.spacing == pytest.approx(2 / 255)


def test_folders_are_classes(tmp_path):
    data = fill(tmp_path, ["dog/1.png", "cat/deep/2.png", "dog/3.png"])
    assert data.classes == 2
    assert data.load().take(torch.arange(3)).label.tolist() == [0, 1, 1]
    (tmp_path / "loose.png").write_bytes(encoded(pixels(7)))
    mixed = Folder(str(tmp_path))
    assert mixed.classes == 0
    assert mixed.load().take(torch.arange(4)).label is None


def test_grey_images_have_one_channel(tmp_path):
    data = fill(tmp_path, ["a.png"], channels=1)
    assert data.shape == (1, 6, 8)
    x = data.load().take(torch.tensor([0])).x[0]
    np.testing.assert_allclose(x.numpy(), scaled(pixels(0, channels=1)), atol=1e-6)


def test_black_may_be_zero(tmp_path):
    fill(tmp_path, ["a.png"])
    data = Folder(str(tmp_path), low=0.0)
    assert data.range == (0.0, 1.0)
    assert data.load().spacing == 1 / 255
    x = data.load().take(torch.tensor([0])).x[0]
    np.testing.assert_allclose(x.numpy(), (scaled(pixels(0)) + 1) / 2, atol=1e-6)


def test_resizing_cuts_out_the_middle(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    (tmp_path / "a.png").write_bytes(encoded(wide))
    (tmp_path / "b.png").write_bytes(encoded(np.full((12, 4, 3), 200, np.uint8)))
    data = Folder(str(tmp_path), size=4)
    assert data.shape == (3, 4, 4)
    x = data.load().take(torch.arange(2)).x
    np.testing.assert_allclose(x.numpy(), 200 / 127.5 - 1, atol=0.02)


def test_links_are_followed_once(tmp_path):
    fill(tmp_path / "real" / "a", ["0.png"])
    fill(tmp_path / "real" / "b", ["0.png", "1.png"])
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "0.png").symlink_to(tmp_path / "real" / "a" / "0.png")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "real" / "b")
    (tmp_path / "real" / "b" / "loop").symlink_to(tmp_path / "data")
    data = Folder(str(tmp_path / "data"))
    assert data.classes == 2
    assert data.load().take(torch.arange(3)).label.tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
def test_a_photograph_stands_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter
    flat = np.zeros((6, 8, 3), np.uint8)
    flat[:, :4] = 255
    (tmp_path / f"a.{kind}").write_bytes(encoded(flat, kind, exif=exif))
    data = Folder(str(tmp_path))
    assert data.shape == (3, 8, 6)
    x = data.load().take(torch.tensor([0])).x[0]
    assert (x[:, :4] > 0.9).all()
    assert (x[:, 4:] < -0.9).all()


def cmyk():
    file = io.BytesIO()
    Image.new("CMYK", (8, 6)).save(file, "jpeg")
    return file.getvalue()


def frames():
    file = io.BytesIO()
    first, second = (Image.fromarray(pixels(i)) for i in (0, 1))
    first.save(file, "tiff", save_all=True, append_images=[second])
    return file.getvalue()


WRONG = {
    "cmyk": ("x.jpg", cmyk, "is CMYK, and data.mode=RGB takes 8-bit RGB"),
    "deep": ("x.png", deep_png, "is 16-bit, and data.mode=RGB takes 8-bit RGB"),
    "grey": ("x.png", lambda: encoded(pixels(0, channels=1)), "is 8-bit grey.*try data.mode=L"),
    "transparent": ("x.png", lambda: encoded(pixels(0, channels=4)), "is RGB with transparency"),
    "levels": ("x.ppm", lambda: b"P6 8 6 65535\n" + bytes(288), "is of other than 256 levels"),
    "colour": ("x.png", lambda: encoded(pixels(0), transparency=(1, 2, 3)), "is with transparency"),
    "size": ("x.png", lambda: encoded(pixels(0, size=(6, 8))), r"is 6 × 8, and .*a\.png is 8 × 6: .*data\.size="),
    "frames": ("x.tiff", frames, "holds 2 frames"),
    "text": ("x.png", lambda: b"<html>not here</html>", "is no image that Pillow knows"),
    "empty": ("x.png", lambda: b"", "is no image that Pillow knows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_belong_is_refused_or_skipped(tmp_path, case):
    name, make, says = WRONG[case]
    fill(tmp_path, ["a.png", "b.png"])
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=rf"{name} {says}.*data\.on_error=skip"):
        Folder(str(tmp_path)).load()
    with pytest.warns(Assumed, match=rf"1 of 3 images are skipped.*{name} "):
        found = Folder(str(tmp_path), on_error="skip").load()
    assert len(found) == 2


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_truncated_image_is_found_when_it_is_decoded(tmp_path, kind):
    fill(tmp_path, ["a.png", "c.png"])
    whole = encoded(pixels(0, size=(64, 64)), kind)
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(encoded(pixels(ord(name[0]), size=(64, 64))))
    (tmp_path / f"b.{kind}").write_bytes(whole[: 3 * len(whole) // 4])
    with pytest.raises(InputError, match=rf"b\.{kind} cannot be decoded: .*truncated.*data\.on_error=skip"):
        Folder(str(tmp_path)).load().take(torch.arange(3))
    found = Folder(str(tmp_path), on_error="skip").load()
    with pytest.warns(Assumed, match=rf"1 of 3 images skipped so far: .*b\.{kind}"):
        x = found.take(torch.arange(3)).x
    assert torch.equal(x[1], x[2])  # the next takes its place
    assert not torch.equal(x[0], x[1])


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data\.path=…"):
        Folder().load()
    with pytest.raises(InputError, match="is not a folder"):
        Folder(str(tmp_path / "none")).load()
    with pytest.raises(InputError, match=r"holds no images .*it is empty"):
        Folder(str(tmp_path)).load()
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="it holds 1 other files"):
        Folder(str(tmp_path)).load()
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"of 1 images none can be used: .*a\.png is no image"):
        Folder(str(tmp_path), on_error="skip").load()


@pytest.mark.parametrize("bad", [{"size": -1}, {"low": 0.5}, {"mode": "CMYK"}, {"on_error": "raise"}, {"path": 3}])
def test_bad_input_is_refused(bad):
    (field,) = bad
    with pytest.raises(InputError, match=field):
        Folder(**bad)
