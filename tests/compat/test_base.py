"""What every format relies on: each tensor of both sides is accounted for, and what is wrong is called by its name."""

import pytest
import torch

from scoresde import registry
from scoresde.assemble import assemble
from scoresde.compat.base import Made, by_name, fill, plain_names, read_json, read_recipe
from scoresde.errors import InputError

SPEC = {"name": "mlp", "width": 8, "depth": 1}
SHAPE = {"shape": (2,), "classes": 0}


@pytest.fixture
def foreign():
    """Foreign weights, and the names by which they are ours: one tensor is kept in two parts."""
    own = registry.build("model", SPEC, **SHAPE).state_dict()
    names = {name: f"their.{name}" for name in own}
    weights = {f"their.{name}": torch.randn_like(tensor) for name, tensor in own.items()}
    name = next(name for name, tensor in own.items() if tensor.ndim == 2 and len(tensor) % 2 == 0)
    whole = weights.pop(f"their.{name}")
    weights |= {"upper": whole[: len(whole) // 2], "lower": whole[len(whole) // 2 :]}
    names[name] = Made(["upper", "lower"], lambda upper, lower: torch.cat([upper, lower]))
    return weights, names, name, whole


def refused(weights, names, *words, ignored=()):
    with pytest.raises(InputError) as caught:
        fill(SPEC, weights, names, ignored, **SHAPE)
    for word in words:
        assert word in str(caught.value)


def test_a_network_is_filled(foreign):
    weights, names, name, whole = foreign
    net = fill(SPEC, weights | {"sigmas": torch.ones(3)}, names, ["sigmas", "absent"], **SHAPE)
    assert torch.equal(net.state_dict()[name], whole)
    half = {key: tensor.half() for key, tensor in weights.items()}
    assert {p.dtype for p in fill(SPEC, half, names, **SHAPE).parameters()} == {torch.float32}


def test_a_tensor_that_is_missing_is_named(foreign):
    weights, names, name, _ = foreign
    del weights["lower"]
    refused(weights, names, f"it has no tensor lower, which mlp needs for its {name}")


def test_a_tensor_that_is_left_over_is_named(foreign):
    weights, names, *_ = foreign
    refused(weights | {"extra": torch.ones(1), "more": torch.ones(1)}, names, "extra has no place in mlp (2 such)")


def test_a_tensor_of_another_shape_is_named(foreign):
    weights, names, name, _ = foreign
    one = next(key for key in weights if key.startswith("their.") and weights[key].ndim == 2)
    refused(weights | {one: weights[one][:, :-1]}, names, one, "shape")
    refused(weights | {"lower": weights["lower"][:, :-1]}, names, name, "lower", "upper")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(bad, foreign):
    weights, names, *_ = foreign
    weights["upper"][0, 0] = bad
    refused(weights, names, "its tensor upper holds NaN or infinity")


def test_what_is_no_tensor_is_named(foreign):
    weights, names, *_ = foreign
    refused(weights | {"upper": [1.0, 2.0]}, names, "upper")


def test_a_name_of_ours_that_is_not_filled_is_named(foreign):
    weights, names, name, _ = foreign
    del names[name]
    refused(weights, names, "upper" if "lower" not in weights else "lower", "has no place")
    refused(weights, names, name, ignored=["upper", "lower"])


def test_a_description_cannot_ask_for_more_than_the_tensors(foreign):
    weights, names, *_ = foreign
    for field in ({"width": 2**40}, {"depth": 10**6}):
        with pytest.raises(InputError):
            fill(SPEC | field, weights, names, **SHAPE)
    own = registry.build("model", SPEC, **SHAPE).state_dict()
    with pytest.raises(InputError, match="NaN"):
        assemble(SPEC, {name: tensor * float("nan") for name, tensor in own.items()}, **SHAPE)


def test_wrappers_leave_no_names():
    weights = {"a.weight": torch.ones(1), "b": torch.ones(2)}
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        assert list(plain_names({prefix + name: tensor for name, tensor in weights.items()})) == list(weights)
    assert list(plain_names({"module.a": weights["b"], "b": weights["b"]})) == ["module.a", "b"]


def test_an_average_is_of_the_parameters():
    like = {"a": torch.ones(2, 3), "b": torch.ones(3)}
    average = [torch.zeros(2, 3), torch.zeros(3)]
    assert list(by_name(["a", "b"], average, like)) == ["a", "b"]
    with pytest.raises(InputError, match=r"its average \(EMA\) holds 1 tensors, but its network has 2 parameters"):
        by_name(["a", "b"], average[:1], like)
    with pytest.raises(InputError, match=r"its average \(EMA\) of b has shape \(2, 3\), but the parameter has \(3,\)"):
        by_name(["b", "a"], average, like)


def test_a_recipe_is_what_training_composes():
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    registry.publish()
    ConfigStore.instance().store(name="schema_train", node={})
    for name in ("digits", "song2021_ve", "points"):
        found = read_recipe(name)
        with initialize_config_module("scoresde.conf", version_base=None):
            config = OmegaConf.to_container(compose("train", overrides=[f"experiment={name}"]))
        assert (registry.build("sde", config["sde"]), registry.build("param", config["param"])) == (
            found.sde,
            found.param,
        )
        built = [
            registry.build("model", spec, **SHAPE | {"shape": (1, 8, 8)}) for spec in (found.model, config["model"])
        ]
        assert registry.describe(built[0]) == registry.describe(built[1])


def test_json_is_read_as_values(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"_class_name": "UNet2DModel", "sample_size": 8}')
    assert read_json(path) == {"_class_name": "UNet2DModel", "sample_size": 8}
    for text in ("[1]", "{", "[" * 10**5, '{"a": 1' + "0" * 5000 + "}", '{"a": "' + "a" * 2**21 + '"}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"its config\.json"):
            read_json(path)
    with pytest.raises(InputError):
        read_json(tmp_path / "none.json")


def test_tensors_that_share_their_numbers_are_refused(foreign):
    """A file could name one tensor a thousand times, of which each would be weights of their own."""
    weights, names, *_ = foreign
    shapes = {}
    for key, tensor in weights.items():
        if key.startswith("their."):  # the others are parts of one
            shapes.setdefault(tensor.shape, []).append(key)
    wide = max((keys for keys in shapes.values() if len(keys) > 1), key=lambda keys: weights[keys[0]].numel())
    refused(weights | dict.fromkeys(wide, weights[wide[0]]), names, "its tensors share their numbers")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e5m2])
def test_weights_of_another_type_are_named(dtype, foreign):
    weights, names, *_ = foreign
    refused(
        weights | {"upper": weights["upper"].to(dtype)}, names, "its tensor upper is of", "but weights are of float"
    )
