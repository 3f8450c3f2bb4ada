"""Files of guided diffusion, improved DDPM and DiT: the numbers of their own code."""

import pytest
import torch

from scoresde import registry
from scoresde.checkpoint import load
from scoresde.compat import adm
from scoresde.errors import InputError

from .golden import cases, close, noise, weights

CASES = cases("adm")
DIT = cases("dit")["dit"]


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    found = CASES[request.param]
    channels, multipliers, blocks, resample = found["shape"]
    shape = adm._Shape(channels, tuple(multipliers), blocks, resample)
    monkeypatch.setitem(adm._ADM, "tiny", (shape, adm._Published(**found["row"])))
    return found


def save(path, tensors):
    torch.save(tensors, path)
    return path


@torch.no_grad()
def check(model, case, steps=1000):
    x = noise((2, *model.shape), 1) * 1.7
    for row, (t, golden) in enumerate(zip(case["t"], case["out"], strict=True)):
        cond = {"label": torch.tensor(case["label"])} if case["label"] else None
        said = model(x.double(), torch.tensor((t + 1) / steps, dtype=torch.float64), cond)
        assert close(said.eps[row], golden)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_denoiser_gives_the_numbers_of_their_network(tmp_path, case, prefix):
    made = {prefix + name: tensor for name, tensor in weights(case["shapes"]).items()}
    model = load(save(tmp_path / "model.pt", made))
    assert type(model.net).__name__ == "ADM"
    check(model, case, case["row"]["steps"])
    assert load(tmp_path / "model.pt", recipe="tiny").sde == model.sde


def test_a_network_that_is_no_published_one_needs_a_recipe(tmp_path):
    path = save(tmp_path / "model.pt", weights(CASES["plain"]["shapes"]))
    with pytest.raises(
        InputError, match=r"32 channels times \(1.0, 2.0\) and 1 blocks, as no published one: .*recipe="
    ):
        load(path)
    with pytest.raises(InputError, match=r"recipe = adm_imagenet65 is none .*did you mean adm_imagenet"):
        load(path, recipe="adm_imagenet65")


def test_tensors_must_be_those_of_the_network(tmp_path, case):
    made = weights(case["shapes"])
    layer = next(name for name in made if name.endswith("qkv.weight"))
    for odd, message in [
        ({k: v for k, v in made.items() if k != "out.0.bias"}, "one-sided|out.0.bias"),
        (made | {"input_blocks.77.0.odd": torch.zeros(1)}, "no place|77"),
        (made | {"middle_block.0.in_layers.0.bias": torch.full_like(made["out.0.bias"], torch.inf)}, "infinity|shape"),
        (made | {layer: torch.zeros(7, 7, 1)}, "cannot be made of|shape"),
        (made | {"out.2.weight": torch.zeros(5, *made["out.2.weight"].shape[1:])}, "reads 3 channels and writes 5"),
        (made | {"note": "text"}, "something else than a network's tensors"),
    ]:
        with pytest.raises(InputError, match=message):
            load(save(tmp_path / "model.pt", odd))


@pytest.mark.parametrize(
    ("recipe", "classes", "millions"),
    [
        ("adm_imagenet64", 1000, 295.9),
        ("adm_imagenet128", 1000, 421.5),
        ("adm_imagenet256", 1000, 553.8),
        ("adm_imagenet512", 1000, 558.9),
        ("iddpm_cifar10", 0, 52.5),
        ("iddpm_imagenet64", 0, 121.1),
        ("iddpm_imagenet64_cond", 1000, 273.0),
    ],
)
def test_as_many_weights_as_the_papers_have(recipe, classes, millions):
    """Dhariwal & Nichol 2021, table 4 and the official files; Nichol & Dhariwal 2021."""
    shape, known = adm._ADM[recipe]
    fields = {"channels": shape.channels, "multipliers": shape.multipliers, "blocks": shape.blocks}
    fields |= {"resample": shape.resample, "heads": known.heads, "learned_variance": True}
    fields["attention"] = (16, 8) if recipe.startswith("iddpm") else (32, 16, 8)
    size = (3, known.size, known.size)
    with torch.device("meta"):
        net = registry.build("model", {"name": "adm", **fields}, shape=size, classes=classes)
    assert sum(weight.numel() for weight in net.parameters()) / 1e6 == pytest.approx(millions, rel=2e-3)


@pytest.fixture
def dit():
    from scoresde.model.dit import DiT

    made = weights(DIT["shapes"])
    with torch.device("cpu"):
        fixed = DiT((4, 8, 8), 3, depth=1).positions
    return made | {"pos_embed": fixed[None]}


def test_dit(tmp_path, dit):
    model = load(save(tmp_path / "dit.pt", dit))
    assert model.range is None
    check(model, DIT)
    whole = {"model": dit, "ema": dit, "opt": {"state": {}, "param_groups": []}}
    check(load(save(tmp_path / "run.pt", whole)), DIT)


def test_dit_refuses(tmp_path, dit):
    for odd, message in [
        (dit | {"pos_embed": dit["pos_embed"] + 1}, "pos_embed is not the sines"),
        ({k: v for k, v in dit.items() if "fc2.bias" not in k}, "fc2.bias|one-sided"),
        (dit | {"final_layer.linear.weight": torch.zeros(5, 384)}, "writes 5 numbers a patch"),
        (dit | {"x_embedder.proj.weight": torch.zeros(100, 4, 2, 2)}, "its width is 100"),
        (dit | {"y_embedder.embedding_table.weight": torch.zeros(4)}, "another shape than any DiT"),
    ]:
        with pytest.raises(InputError, match=message):
            load(save(tmp_path / "dit.pt", odd))


@pytest.mark.parametrize(
    ("width", "depth", "heads", "count"),
    [(384, 12, 6, 32_963_360), (768, 12, 12, 130_512_416), (1024, 24, 16, 458_102_816), (1152, 28, 16, 675_129_632)],
)
def test_dit_has_as_many_weights_as_the_paper(width, depth, heads, count):
    """Theirs count the fixed positions of 256 patches: 33, 130, 458 and 675 million."""
    fields = {"width": width, "depth": depth, "heads": heads, "learned_variance": True}
    with torch.device("meta"):
        net = registry.build("model", {"name": "dit", **fields}, shape=(4, 32, 32), classes=1000)
    assert sum(weight.numel() for weight in net.parameters()) + 256 * width == count
