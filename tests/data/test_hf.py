import numpy as np
import pytest
import torch

from scoresde.data.hf import HF
from scoresde.errors import InputError

from .pictures import encoded, pixels, scaled

datasets = pytest.importorskip("datasets", reason='pip install "scoresde[data]"')


@pytest.fixture(scope="module")
def table():
    cells = [{"bytes": encoded(pixels(i)), "path": None} for i in range(5)]
    columns = {"image": cells, "kind": [i % 3 for i in range(5)], "name": list("abcde")}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


@pytest.fixture(params=["parquet", "arrow", "folder"])
def path(table, tmp_path, request):
    if request.param == "parquet":
        table.to_parquet(tmp_path / "a.parquet")
        return str(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved" / ("data-00000-of-00001.arrow" if request.param == "arrow" else ""))


def test_images_are_what_they_say(path):
    data = HF(path, label="kind")
    assert data.shape == (3, 6, 8)
    assert data.classes == 3
    taken = data.load().take(torch.tensor([4, 0, 1]))
    assert taken.label.tolist() == [1, 0, 1]
    for x, i in zip(taken.x, (4, 0, 1), strict=True):
        np.testing.assert_allclose(x.numpy(), scaled(pixels(i)), atol=1e-6)
    assert HF(path).classes == 0


def test_bad_input_is_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"has no column picture: it has .*'image', 'kind', 'name'"):
        HF(path, column="picture").load()
    with pytest.raises(InputError, match="column name: the label of row 0 is 'a'"):
        HF(path, label="name").load()
    with pytest.raises(InputError, match="column kind holds no images"):
        HF(path, column="kind").load()
    with pytest.raises(InputError, match=r"data\.path=…"):
        HF().load()
    (tmp_path / "b.parquet").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"b\.parquet cannot be read"):
        HF(str(tmp_path / "b.parquet")).load()
