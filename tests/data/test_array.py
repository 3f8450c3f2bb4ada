import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from scoresde.data.array import Array
from scoresde.errors import Assumed, InputError

SEQUENCES = np.random.default_rng(0).normal(size=(20, 3, 16))
LABEL = np.arange(20) % 4


def write(path, **arrays):
    if path.suffix == ".npy":
        np.save(path, arrays["x"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return str(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_rows_are_what_they_say(tmp_path, kind):
    data = Array(write(tmp_path / f"a.{kind}", x=SEQUENCES))
    assert data.shape == (3, 16)
    assert data.range is None
    assert data.classes == 0
    found = data.load()
    assert len(found) == 20
    assert found.spacing == 0
    taken = found.take(torch.tensor([3, 0]))
    assert taken.x.dtype == torch.float32
    assert taken.label is None
    np.testing.assert_allclose(taken.x.numpy(), SEQUENCES[[3, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_labels_lie_beside(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", fields=SEQUENCES, digit=LABEL)
    data = Array(path, label="digit", low=-9, high=9)
    assert data.classes == 4
    assert data.range == (-9, 9)
    assert data.load().take(torch.tensor([5, 2])).label.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"no array 'x', but digit, fields: give data\.key="):
        Array(path).load()  # which of the two is meant is not said
    assert Array(path, key="fields").shape == (3, 16)


def test_bytes_are_levels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    data = Array(write(tmp_path / "a.npy", x=x), channels_last=True)
    assert data.shape == (3, 8, 6)
    assert data.range == (-1, 1)
    found = data.load()
    assert found.spacing == pytest.approx(2 / 255)
    want = np.moveaxis(x.astype(np.float32), -1, 1) / 127.5 - 1
    np.testing.assert_allclose(found.take(torch.arange(5)).x.numpy(), want, atol=1e-6)


def test_other_whole_numbers_say_their_bounds(tmp_path):
    x = np.arange(34).reshape(2, 17) % 17
    path = write(tmp_path / "a.npy", x=x)
    with pytest.raises(InputError, match=r"which can occur\? give data.low=… data.high=…"):
        Array(path).load()
    data = Array(path, low=0, high=16)
    assert data.load().spacing == 1 / 8
    np.testing.assert_allclose(data.load().take(torch.arange(2)).x.numpy(), x / 8 - 1)


def test_large_whole_numbers_keep_their_values(tmp_path):
    x = 10**9 + np.arange(256).reshape(4, 64)
    data = Array(write(tmp_path / "a.npy", x=x), low=1e9, high=1e9 + 255)
    found = data.load().take(torch.arange(4)).x
    np.testing.assert_allclose(found.numpy(), np.arange(256).reshape(4, 64) / 127.5 - 1, atol=1e-6)


def test_numbers_that_float32_does_not_hold_are_refused(tmp_path):
    x = SEQUENCES.copy()
    x[3, 0, 0] = 1e300
    with pytest.raises(InputError, match=r"1 of 20 rows .* not finite, the first is row 3"):
        Array(write(tmp_path / "a.npy", x=x)).load()


def test_bfloat16_is_read(tmp_path):
    from safetensors.torch import save_file as save_tensors

    save_tensors({"x": torch.arange(6.0, dtype=torch.bfloat16).reshape(3, 2)}, tmp_path / "a.safetensors")
    assert Array(str(tmp_path / "a.safetensors")).load().take(torch.tensor([2])).x.tolist() == [[4.0, 5.0]]


@pytest.mark.parametrize("label", [np.arange(19), np.arange(20) / 2, np.full(20, 2**63, np.uint64)], ids=str)
def test_labels_that_are_none_are_refused(tmp_path, label):
    with pytest.raises(InputError, match="label"):
        Array(write(tmp_path / "a.npz", x=SEQUENCES, label=label), label="label").load().take(torch.arange(1))


def test_a_large_array_stays_on_the_disk(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.float32, shape=(10_000, 50))
    x[:] = np.arange(10_000)[:, None]
    x.flush()
    found = Array(str(tmp_path / "a.npy")).load()
    assert isinstance(found.x, np.memmap)
    assert found.take(torch.tensor([9_999, 4_097])).x[:, 0].tolist() == [9_999, 4_097]


@pytest.mark.parametrize(
    ("spoil", "bounds"), [(np.nan, {}), (np.inf, {}), (1.5, {"low": -1.0, "high": 1.0})], ids=["nan", "inf", "bounds"]
)
def test_rows_that_are_no_data_are_refused_or_skipped(tmp_path, spoil, bounds):
    x = np.clip(SEQUENCES, -1, 1)
    x[7, 1, 3] = x[9, 0, 0] = spoil
    path = write(tmp_path / "a.npz", x=x, label=LABEL)
    with pytest.raises(InputError, match=r"a\.npz: 2 of 20 rows .* the first is row 7; .*data\.on_error=skip"):
        Array(path, label="label", **bounds).load()
    with pytest.warns(Assumed, match=r"2 of 20 rows .* skipped"):
        found = Array(path, label="label", on_error="skip", **bounds).load()
    assert len(found) == 18
    taken = found.take(torch.tensor([7, 8]))
    np.testing.assert_allclose(taken.x.numpy(), x[[8, 10]], rtol=1e-6)
    assert taken.label.tolist() == [0, 2]
    with pytest.raises(InputError, match="20 of 20"):
        Array(write(tmp_path / "b.npy", x=x * np.nan), on_error="skip").load()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x": np.array(["a", "b"])}, "an array of shape"),
        ({"x": np.zeros(3)}, r"shape \(3,\), float64, but data are real numbers \(N, ...\)"),
        ({"x": np.zeros((0, 3))}, r"shape \(0, 3\)"),
        ({"x": np.zeros((3, 2), dtype=complex)}, "complex128"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, content, says):
    with pytest.raises(InputError, match=says):
        Array(write(tmp_path / "a.npz", **content)).load()


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data\.path=…"):
        Array().load()
    for name, says in (("a.csv", "must be a .npy"), ("a.npy", "there is no such file")):
        with pytest.raises(InputError, match=says):
            Array(str(tmp_path / name)).load()
    np.savez(tmp_path / "zip.npz", x=SEQUENCES)
    (tmp_path / "zip.npz").rename(tmp_path / "zip.npy")
    assert Array(str(tmp_path / "zip.npy")).shape == (3, 16)  # what it is counts, not what it is called
    for kind in ("npy", "npz", "safetensors"):
        (tmp_path / f"a.{kind}").write_bytes(b"junk" * 9)
        with pytest.raises(InputError, match=rf"a\.{kind}"):
            Array(str(tmp_path / f"a.{kind}")).load()
    objects = np.array([{"run": "me"}, None], dtype=object)
    np.save(tmp_path / "b.npy", objects, allow_pickle=True)
    with pytest.raises(InputError, match="no array of numbers"):
        Array(str(tmp_path / "b.npy")).load()
    path = write(tmp_path / "c.npz", x=SEQUENCES, label=LABEL - 1)
    with pytest.raises(InputError, match="the label of row 0 is -1"):
        Array(path, label="label").load().take(torch.arange(1))


@pytest.mark.parametrize("bad", [{"low": 1.0, "high": 0.5}, {"high": float("inf")}, {"on_error": "no"}, {"path": 1}])
def test_bad_input_is_refused(bad):
    field = list(bad)[-1]
    with pytest.raises(InputError, match=field):
        Array(**bad)
