"""EDM's and EDM2's recipes: each composes, and its network has the papers' number of weights."""

import pytest
import torch
from omegaconf import OmegaConf

from scoresde import registry
from scoresde.compat.base import read_recipe

CIFAR, SMALL, LATENT = (3, 32, 32), (3, 64, 64), (4, 64, 64)
# data, labels, and the trainable weights of the official networks. SongUNet's map of the labels has a bias, of 128 or
# 256 numbers, that adds to one of the next layer's: ours has none
COUNTS = {
    "edm_cifar10_cond_vp": (CIFAR, 10, 55_735_299 - 128),
    "edm_cifar10_cond_ve": (CIFAR, 10, 56_400_643 - 256),
    "edm_cifar10_uncond_vp": (CIFAR, 0, 55_733_891),
    "edm_cifar10_uncond_ve": (CIFAR, 0, 56_397_827),
    "edm_ffhq_vp": (SMALL, 0, 61_805_571),
    "edm_ffhq_ve": (SMALL, 0, 62_761_091),
    "edm_afhqv2_vp": (SMALL, 0, 61_805_571),
    "edm_afhqv2_ve": (SMALL, 0, 62_761_091),
    "edm_imagenet64": (SMALL, 1000, 295_899_267),
    "edm2_img512_xxs": (LATENT, 1000, 31_309_029),
    "edm2_img512_xs": (LATENT, 1000, 124_713_253),
    "edm2_img512_s": (LATENT, 1000, 280_212_837),
    "edm2_img512_m": (LATENT, 1000, 497_807_781),
    "edm2_img512_l": (LATENT, 1000, 777_498_085),
    "edm2_img512_xl": (LATENT, 1000, 1_119_283_749),
    "edm2_img512_xxl": (LATENT, 1000, 1_523_164_773),
    "edm2_img64_xs": (SMALL, 1000, 124_710_949),
    "edm2_img64_s": (SMALL, 1000, 280_209_381),
    "edm2_img64_m": (SMALL, 1000, 497_803_173),
    "edm2_img64_l": (SMALL, 1000, 777_492_325),
    "edm2_img64_xl": (SMALL, 1000, 1_119_276_837),
}
# millions of images, images a step, and the half-life of the average in millions of images
TRAINED = {"edm_cifar10": (200, 512, 0.5), "edm_ffhq": (200, 256, 0.5), "edm_afhqv2": (200, 256, 0.5)}
TRAINED |= {"edm_imagenet64": (2500, 4096, 50)}
every = pytest.mark.parametrize("name", COUNTS)


@every
def test_a_network_has_as_many_weights_as_the_papers(name):
    shape, classes, count = COUNTS[name]
    with torch.device("meta"):
        net = registry.build("model", read_recipe(name).model, shape=shape, classes=classes)
    assert sum(weight.numel() for weight in net.parameters()) == count


@every
def test_a_recipe_composes_to_what_it_says(composed, name):
    config, recipe = OmegaConf.to_container(composed[name], resolve=True), read_recipe(name)
    assert config["name"] == name
    assert config["labels"] == (COUNTS[name][1] > 0)
    assert config["model"] == config["model"] | recipe.model
    assert registry.build("sde", config["sde"]) == registry.build("sde", "edm")
    param = registry.build("param", config["param"])
    # what the network is told is ¼ log σ, through its features' own factor
    scale = {"fourier": 4, "positional": 250}.get(recipe.model.get("time"), 1 if "edm2" in name else 250)
    assert param.factor * scale == 1
    loss = registry.build("loss", config["loss"])
    assert (loss.weighting.sigma_data, param.sigma_data) == (0.5, 0.5)
    assert (loss.time.mean, loss.time.std) == (-1.2, 1.2) or name.startswith("edm2")
    for start, (images, batch, life) in TRAINED.items():
        if name.startswith(start):
            assert config["batch"] == batch
            assert config["steps"] == round(images * 1e6 / batch)
            assert config["warmup"] == round(1e7 / batch)
            assert config["ema"] == {"name": "half_life", "images": life * 1e6, "rampup": 0.05}
