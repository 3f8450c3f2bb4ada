import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from scoresde.data.archive import Archive
from scoresde.errors import Assumed, InputError

from .pictures import encoded, pixels, scaled


def pack(path, members):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def images(names):
    return {name: encoded(pixels(i)) for i, name in enumerate(names)}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_images_are_what_they_say(tmp_path, kind):
    path = pack(tmp_path / f"a.{kind}", images(["2.png", "1.png"]) | {"readme.txt": b"no image"})
    data = Archive(str(path))
    found = data.load()
    assert len(found) == 2
    assert data.shape == (3, 6, 8)
    assert data.classes == 0
    x = found.take(torch.tensor([1, 0])).x
    for got, i in zip(x, (0, 1), strict=True):
        np.testing.assert_allclose(got.numpy(), scaled(pixels(i)), atol=1e-6)


def test_many_threads_read_one_archive(tmp_path):
    for kind in ("zip", "tar"):
        path = pack(tmp_path / f"a.{kind}", images([f"{i:03}.png" for i in range(200)]))
        x = Archive(str(path)).load().take(torch.arange(200)).x
        for i in range(200):
            np.testing.assert_allclose(x[i].numpy(), scaled(pixels(i)), atol=1e-6)


def test_shards_of_a_web_dataset(tmp_path):
    for shard in range(3):
        members = images([f"{shard}{i}.png" for i in range(2)])
        labels = {f"{shard}{i}.cls": str(shard + i).encode() for i in range(2)}
        pack(tmp_path / f"part-{shard}.tar", members | labels)
    data = Archive(str(tmp_path / "part-*.tar"))
    assert data.classes == 4
    assert data.load().take(torch.arange(6)).label.tolist() == [0, 1, 1, 2, 2, 3]


def test_a_data_set_of_edm(tmp_path):
    members = images(["00000/img0.png", "00000/img1.png", "00001/img2.png"])
    labels = {"labels": [["00000/img1.png", 2], ["00000/img0.png", 0], ["00001/img2.png", 1]]}
    data = Archive(str(pack(tmp_path / "a.zip", members | {"dataset.json": json.dumps(labels).encode()})))
    assert data.classes == 3
    assert data.load().take(torch.arange(3)).label.tolist() == [0, 2, 1]
    partly = {"labels": labels["labels"][:1]}
    data = Archive(str(pack(tmp_path / "b.zip", members | {"dataset.json": json.dumps(partly).encode()})))
    assert data.classes == 0
    without = Archive(str(pack(tmp_path / "c.zip", members | {"dataset.json": b'{"labels": null}'})))
    assert without.classes == 0  # which EDM says of images in numbered folders


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"a.cls": b"one"}, r"a\.zip:a\.cls holds b'one', but it must be a label"),
        ({"dataset.json": b"["}, "no list of labels"),
        ({"dataset.json": b'{"labels": [3]}'}, "no list of labels"),
        ({"dataset.json": b"[" * 100_000}, "no list of labels"),
        ({"dataset.json": b'{"labels": 5}'}, "no list of labels"),
        ({"dataset.json": b'{"labels": [[[1], 0]]}'}, "no list of labels"),
        *(
            ({"dataset.json": b'{"labels": [["a.png", %s]]}' % label}, "the label of row 0 is .*a whole number in")
            for label in (b"-1", b"true", b"0.5", b"1000000000000", b"1180591620717411303424", b'"x"')
        ),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, members, says):
    path = pack(tmp_path / "a.zip", images(["a.png"]) | members)
    with pytest.raises(InputError, match=says):
        Archive(str(path)).load()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_are_what_they_mean(tmp_path, kind):
    """As ``tar -cf a.tar .`` and as macOS writes them."""
    junk = {"./__MACOSX/a/._0.png": b"junk", "./a/.hidden.png": b"junk"}
    data = Archive(str(pack(tmp_path / f"a.{kind}", images(["./a/0.png", "./b/0.png"]) | junk)))
    assert data.classes == 2
    assert data.load().take(torch.arange(2)).label.tolist() == [0, 1]


def test_links_in_an_archive_are_refused(tmp_path):
    path = pack(tmp_path / "a.tar", images(["a.png"]))
    with tarfile.open(path, "a") as file:
        entry = tarfile.TarInfo("b.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(entry)
    with pytest.raises(InputError, match=r"a\.tar:b\.png is a link"):
        Archive(str(path)).load()


def test_names_are_told_without_control_characters(tmp_path):
    path = pack(tmp_path / "a.zip", images(["a.png"]) | {"b\x1b[31m\n.png": b"junk"})
    with pytest.warns(Assumed) as told:
        Archive(str(path), on_error="skip").load()
    assert "\x1b" not in str(told[0].message)
    assert "\n" not in str(told[0].message)


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data\.path=…"):
        Archive().load()
    with pytest.raises(InputError, match="there is no such file"):
        Archive(str(tmp_path / "none.zip")).load()
    for folder in (".", "/", str(tmp_path)):
        with pytest.raises(InputError, match="there is no such file"):
            Archive(folder).load()
    with pytest.raises(InputError, match="no images"):
        Archive(str(pack(tmp_path / "a.zip", {"a.txt": b""}))).load()
    with pytest.raises(InputError, match=r"unpack it to a plain \.tar"):
        Archive(str(pack(tmp_path / "a.tgz", images(["a.png"])))).load()
    (tmp_path / "b.tar").write_bytes(b"junk" * 500)
    with pytest.raises(InputError, match=r"b\.tar is no \.zip or plain \.tar"):
        Archive(str(tmp_path / "b.tar")).load()


def test_a_damaged_member_is_named(tmp_path):
    path = pack(tmp_path / "a.zip", images([f"{i}.png" for i in range(3)]))
    content = bytearray(path.read_bytes())
    at = content.find(b"1.png") + 200  # within the second image
    content[at : at + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip:1\.png cannot be decoded"):
        Archive(str(path)).load().take(torch.arange(3))
