"""The papers' recipes: each composes, and its network has the papers' number of weights."""

import pytest
import torch
from omegaconf import OmegaConf

from scoresde import registry
from scoresde.compat.base import read_recipe
from scoresde.param.published import Published

# trainable weights of the official networks
COUNTS = {
    "ve_cifar10_ncsnpp": 62_693_251,
    "ve_cifar10_ncsnpp_continuous": 62_758_787,
    "ve_cifar10_ncsnpp_deep_continuous": 107_586_947,
    "ve_cifar10_ddpm": 35_218_947,
    "ve_celeba_ncsnpp": 62_693_251,
    "ve_bedroom_ncsnpp_continuous": 65_574_421,
    "ve_church_ncsnpp_continuous": 65_574_421,
    "ve_celebahq_256_ncsnpp_continuous": 65_574_421,
    "ve_ffhq_256_ncsnpp_continuous": 65_574_421,
    "ve_celebahq_ncsnpp_continuous": 105_785_880,
    "ve_ffhq_ncsnpp_continuous": 105_785_880,
    "ve_ncsnv2_cifar10": 29_694_083,
    "ve_ncsnv2_celeba": 29_694_083,
    "ve_ncsnv2_bedroom": 83_445_379,
    "vp_cifar10_ddpmpp": 61_804_419,
    "vp_cifar10_ddpmpp_continuous": 61_804_419,
    "vp_cifar10_ddpmpp_deep_continuous": 106_632_579,
    "vp_cifar10_ncsnpp": 62_693_251,
    "vp_cifar10_ncsnpp_continuous": 62_693_251,
    "vp_cifar10_ncsnpp_deep_continuous": 107_521_411,
    "vp_ddpm_cifar10": 35_218_947,
    "vp_ddpm_cifar10_continuous": 35_218_947,
    "vp_ddpm_bedroom": 111_569_923,
    "vp_ddpm_celebahq": 111_569_923,
    "vp_ddpm_church": 111_569_923,
    "subvp_cifar10_ddpm_continuous": 35_218_947,
    "subvp_cifar10_ddpmpp_continuous": 61_804_419,
    "subvp_cifar10_ddpmpp_deep_continuous": 106_632_579,
    "subvp_cifar10_ncsnpp_continuous": 62_693_251,
    "subvp_cifar10_ncsnpp_deep_continuous": 107_521_411,
}
every = pytest.mark.parametrize("name", COUNTS)


@every
def test_a_network_has_as_many_weights_as_the_papers(name):
    recipe = read_recipe(name)
    with torch.device("meta"):
        net = registry.build("model", recipe.model, shape=recipe.shape, classes=0)
    assert sum(weight.numel() for weight in net.parameters()) == COUNTS[name]


@every
def test_a_recipe_composes_to_what_it_says(composed, name):
    config, recipe = OmegaConf.to_container(composed[name], resolve=True), read_recipe(name)
    assert config["name"] == name
    assert registry.build("sde", config["sde"]) == recipe.sde
    assert registry.build("param", config["param"]) == recipe.param
    assert config["model"] == config["model"] | recipe.model
    loss = registry.build("loss", config["loss"])
    assert type(loss.time).__name__ == ("Uniform" if name.endswith("continuous") else "Discrete")


@every
def test_what_the_network_is_told_is_the_papers(name):
    """999·t, the step's index, log σ, or the number of the noise level, through the features' own factor."""
    recipe = read_recipe(name)
    sde, param = recipe.sde, recipe.param
    assert isinstance(param, Published)
    t = torch.linspace(sde.t_min, sde.t_max, 11, dtype=torch.float64)
    noise = param.scales(t, sde.alpha(t), sde.std(t)).noise
    if recipe.model.get("time") == "fourier":
        torch.testing.assert_close(4 * noise, sde.std(t).log(), rtol=1e-12, atol=1e-12)
        return
    count = {"ve_ncsnv2_cifar10": 232, "ve_ncsnv2_celeba": 500, "ve_ncsnv2_bedroom": 1086}.get(name, 1000)
    right = 999 * t if name.endswith("continuous") else 1000 * t - 1
    if name.startswith("ve"):
        right = ((1 - t) * (count - 1)).round()
    torch.testing.assert_close(250 * noise, right, rtol=1e-9, atol=1e-9)
