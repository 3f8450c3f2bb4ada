"""score_sde_pytorch's files give its own numbers."""

import dataclasses

import pytest
import torch

from scoresde.checkpoint import load
from scoresde.compat import score_sde
from scoresde.compat.base import read_recipe
from scoresde.errors import Assumed, InputError

from .score_sde_files import checkpoint, picture, refinenet, sigmas, unet

F64 = torch.float64
TABLE, CHURCH, BEDROOM = sigmas(50, 1000), sigmas(380, 2000), sigmas(190, 1086)
NARROW = {"nf": 16, "ch_mult": (1, 2, 2)}

# by recipe: names and shapes, the table of σ's, the average's rate
FILES = {
    "ve_cifar10_ncsnpp_continuous": (unet(embedding="fourier", input="residual"), TABLE, 0.999),
    "ve_cifar10_ncsnpp": (unet(input="residual"), TABLE, 0.999),
    "ve_cifar10_ddpm": (unet(block="ddpm"), TABLE, 0.999),
    "ve_church_ncsnpp_continuous": (unet(embedding="fourier", input="skip", output="skip", **NARROW), CHURCH, 0.999),
    "ve_ncsnv2_cifar10": (refinenet(), sigmas(50, 232), 0.999),
    "ve_ncsnv2_bedroom": (refinenet(nf=8, ch_mult=(1, 2, 2, 4, 4)), BEDROOM, 0.9999),
    "vp_cifar10_ddpmpp_continuous": (unet(fir=False), TABLE, 0.9999),
    "vp_cifar10_ncsnpp": (unet(input="residual"), TABLE, 0.9999),
    "vp_ddpm_cifar10": (unet(block="ddpm"), TABLE, 0.9999),
    "subvp_cifar10_ddpmpp_continuous": (unet(fir=False), TABLE, 0.9999),
}
# its process at a time, as its own code counts time, and seven numbers of the score there: six of 6,144, and the norm
OFFICIAL = {
    "ve_cifar10_ncsnpp_continuous": (
        0.4,
        [1.212053, -0.6428806, 3.687585, 2.017658, -0.1462078, 3.465129, 166.9905],
    ),
    "ve_cifar10_ncsnpp": (
        600 / 999,
        [-0.4520441, 0.1285617, 0.06465173, 0.2309268, -0.8398144, -0.02022905, 29.58388],
    ),
    "ve_cifar10_ddpm": (600 / 999, [-0.5153591, 0.2320094, -0.156325, 0.1175215, -0.2239833, -0.310534, 27.48148]),
    "ve_church_ncsnpp_continuous": (
        0.4,
        [-1.046972, 0.1146775, -0.3413198, 0.8926284, -3.424271, -0.1198581, 114.3431],
    ),
    "ve_ncsnv2_cifar10": (
        150 / 231,
        [-0.04941859, 0.007875143, 0.9534213, 0.1207898, -0.005574339, 0.5220962, 25.74796],
    ),
    "ve_ncsnv2_bedroom": (
        600 / 1085,
        [-0.02437715, -0.05593081, -0.4943845, 0.139226, -0.04593165, 1.307475, 49.64856],
    ),
    "vp_cifar10_ddpmpp_continuous": (
        0.4,
        [-0.0524825, -0.0142594, 0.2851934, -0.9322955, 0.9426329, -0.3220073, 48.45687],
    ),
    "vp_cifar10_ncsnpp": (400 / 999, [0.4465563, -0.6175626, 0.4772492, -0.5414981, 1.110417, -0.1586135, 46.17585]),
    "vp_ddpm_cifar10": (400 / 999, [0.1825673, -0.1460765, 0.2227988, -0.3683462, 0.4493683, 0.1239888, 49.3711]),
    "subvp_cifar10_ddpmpp_continuous": (
        0.4,
        [-0.1624225, -0.1034114, 0.397918, -1.004175, 0.8780145, -0.3893298, 53.23744],
    ),
}
TOLD_BY_THE_TENSORS = [
    "ve_cifar10_ncsnpp_continuous",
    "ve_cifar10_ncsnpp",
    "ve_cifar10_ddpm",
    "ve_church_ncsnpp_continuous",
    "ve_ncsnv2_cifar10",
    "vp_cifar10_ddpmpp_continuous",
]


def content(recipe):
    names, table, rate = FILES[recipe]
    return checkpoint(names, table=table, rate=rate)


def save(tmp_path, tree):
    path = tmp_path / "checkpoint_5.pth"
    torch.save(tree, path)
    return path


def agrees(model, recipe):
    t, right = OFFICIAL[recipe]
    process = model.sde
    if type(process).__name__ == "DDPM":  # its index i is our time (i + 1)/N
        t = (round(t * 999) + 1) / 1000
    t = torch.tensor(t, dtype=F64)
    # x is of the continuous process also where the model is of the chain
    like = read_recipe("vp_cifar10_ddpmpp_continuous").sde if type(process).__name__ == "DDPM" else process
    x = like.std(torch.tensor(OFFICIAL[recipe][0], dtype=F64)) * picture(32)
    with torch.no_grad():
        score = model(x.float(), t).score.double()
    flat = score.flatten()
    found = torch.cat([flat[5 :: len(flat) // 7][:6], score.norm()[None]])
    right = torch.tensor(right, dtype=F64)
    assert ((found - right).abs() <= 2e-5 * flat.abs().max().clamp(max=right[-1])).all(), (found, right)
    assert abs(found[-1] / right[-1] - 1) < 1e-5


@pytest.fixture
def tiny(monkeypatch):
    """Recipes, with networks of the size that the test files have."""

    def read(name):
        recipe = read_recipe(name)
        small = {"channels": 32, "blocks": 1} if "ncsnv2" not in name else {"channels": 8}
        return dataclasses.replace(recipe, model=recipe.model | small, shape=(3, 32, 32))

    monkeypatch.setattr(score_sde, "read_recipe", read)


@pytest.mark.parametrize("recipe", TOLD_BY_THE_TENSORS)
def test_without_a_recipe(tmp_path, recipe):
    model = load(save(tmp_path, content(recipe)))
    agrees(model, recipe)
    known = read_recipe(recipe)
    assert type(model.sde) is type(known.sde)
    assert model.range == known.range
    assert not model.training


@pytest.mark.parametrize("recipe", [name for name in FILES if "church" not in name and name != "ve_ncsnv2_cifar10"])
def test_with_a_recipe(tmp_path, tiny, recipe):
    model = load(save(tmp_path, content(recipe)), recipe=recipe)
    agrees(model, recipe)
    known = read_recipe(recipe)
    assert (model.sde, model.param, model.range) == (known.sde, known.param, known.range)


def test_without_a_recipe_the_table_of_noise_levels_is_the_files(tmp_path):
    model = load(save(tmp_path, content("ve_church_ncsnpp_continuous")))
    assert model.sde.sigma_max == pytest.approx(380, rel=1e-12)
    assert model.sde.sigma_min == pytest.approx(0.01, rel=1e-12)


def test_a_discrete_model_is_told_whole_numbers(tmp_path):
    model = load(save(tmp_path, content("ve_cifar10_ncsnpp")))
    t = torch.tensor([0.31371, 0.9], dtype=F64)
    noise = model.param.scales(t, model.sde.alpha(t), model.sde.std(t)).noise
    torch.testing.assert_close(250 * noise, ((1 - t) * 999).round(), rtol=0, atol=1e-9)


def test_without_data_parallel_and_without_an_average(tmp_path):
    tree = content("vp_cifar10_ddpmpp_continuous")
    names = [name for name in FILES["vp_cifar10_ddpmpp_continuous"][0] if name != "sigmas"]
    averaged = dict(zip(names, tree["ema"]["shadow_params"], strict=True))
    agrees(load(save(tmp_path, {"model": {"sigmas": TABLE} | averaged, "step": 5})), "vp_cifar10_ddpmpp_continuous")


def test_saved_again_it_is_the_same(tmp_path):
    from scoresde.checkpoint import save as save_own

    model = load(save(tmp_path, content("ve_cifar10_ncsnpp_continuous")))
    save_own(tmp_path / "own.safetensors", model)
    agrees(load(tmp_path / "own.safetensors"), "ve_cifar10_ncsnpp_continuous")


def spoilt(spoil):
    tree = content("ve_cifar10_ncsnpp_continuous")
    spoil(tree)
    return tree


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tree: tree["ema"]["shadow_params"].pop(), r"\(EMA\) holds 275 tensors, but its network has 276 param"),
        (lambda tree: tree["ema"]["shadow_params"].reverse(), r"\(EMA\) of all_modules.1.weight has shape \(3,\)"),
        (lambda tree: tree["ema"].pop("shadow_params"), r"\(EMA\) has no list shadow_params"),
        (lambda tree: tree["ema"]["shadow_params"].__setitem__(3, None), "something else than tensors"),
        (lambda tree: tree["ema"]["shadow_params"][7].view(-1)[0].fill_(torch.nan), "all_modules.4.GroupNorm_0.bias"),
        (lambda tree: tree["model"].pop("module.all_modules.4.Conv_0.bias"), "no tensor all_modules.4.Conv_0.bias"),
        (lambda tree: tree["model"]["module.sigmas"].zero_(), "not a falling list of noise levels"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, message):
    with pytest.raises(InputError, match=message):
        load(save(tmp_path, spoilt(spoil)))


def test_what_is_assumed_is_said(tmp_path):
    with pytest.warns(Assumed, match="VP with continuous times"):
        load(save(tmp_path, content("vp_cifar10_ddpmpp_continuous")))
    with pytest.warns(Assumed, match="VE with discrete times"):
        load(save(tmp_path, content("ve_cifar10_ncsnpp")))
    tree = content("ve_cifar10_ncsnpp")
    tree["ema"]["decay"] = torch.tensor(0.999)
    with pytest.warns(Assumed, match="VE with discrete times"):
        load(save(tmp_path, tree))
    tree["ema"]["decay"] = 0.5
    with pytest.raises(InputError, match="VE, VP and sub-VP alike: give recipe="):
        load(save(tmp_path, tree))


def test_a_recipe_of_other_noise_levels_is_refused(tmp_path, tiny):
    tree = content("ve_cifar10_ncsnpp_continuous")
    tree["model"]["module.sigmas"] = 2 * tree["model"]["module.sigmas"]
    with pytest.raises(InputError, match=r"its sigmas go from .* but those of recipe = ve_cifar10_ncsnpp_con"):
        load(save(tmp_path, tree), recipe="ve_cifar10_ncsnpp_continuous")


def test_a_recipe_of_no_score_sde_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="score_sde trained no such model"):
        load(save(tmp_path, content("ve_cifar10_ncsnpp_continuous")), recipe="points")


def test_a_lost_tensor_is_named(tmp_path):
    tree = content("vp_cifar10_ddpmpp_continuous")
    del tree["ema"], tree["model"]["module.all_modules.3.Conv_0.bias"]
    with pytest.raises(InputError, match=r"no tensor all_modules.3.Conv_0.bias, which ddpmpp needs"):
        load(save(tmp_path, tree))


def test_a_recipe_of_another_network_is_refused(tmp_path):
    path = save(tmp_path, content("vp_cifar10_ddpmpp_continuous"))
    with pytest.raises(InputError, match="all_modules"):
        load(path, recipe="ve_cifar10_ncsnpp_continuous")
    with pytest.raises(InputError, match="did you mean vp_cifar10_ddpmpp"):
        load(path, recipe="vp_cifar10_dpmpp")
    with pytest.raises(InputError, match="does not exist"):
        load(path, recipe="../experiment/digits")


def test_an_image_of_unknown_size_needs_a_recipe(tmp_path):
    tree = checkpoint(unet(fir=False, attention=0), table=TABLE)
    with pytest.raises(InputError, match="give recipe="):
        load(save(tmp_path, tree))
