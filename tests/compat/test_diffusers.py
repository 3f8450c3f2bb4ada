"""Folders of diffusers: the numbers of its own code, and nothing of theirs run."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from scoresde.checkpoint import load
from scoresde.errors import InputError
from scoresde.sampling import sample

from .golden import cases, close, noise, weights

CASES = cases("diffusers")
PLACES = {name: "transformer" if name == "dit" else "unet" for name in CASES}
NETWORKS = {"dit": "DiT", "ncsnpp": "NCSNpp"}
every = pytest.mark.parametrize("name", CASES)


def tensors(name):
    made = weights(CASES[name]["shapes"])
    if name == "dit":  # whose blocks share their embedding
        made = {k: made[k.replace("blocks.1.norm1.emb", "blocks.0.norm1.emb")] for k in made}
    return made


def write(folder, name, made=None, config=None, scheduler=None, flat=False):
    place = folder if flat else folder / PLACES[name]
    place.mkdir(parents=True, exist_ok=True)
    save_file({k: v.clone() for k, v in (made or tensors(name)).items()}, place / "diffusion_pytorch_model.safetensors")
    (place / "config.json").write_text(json.dumps(CASES[name]["config"] | (config or {})))
    beside = folder if flat else folder / "scheduler"
    beside.mkdir(exist_ok=True)
    (beside / "scheduler_config.json").write_text(json.dumps(CASES[name]["scheduler"] | (scheduler or {})))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    return folder


@torch.no_grad()
def check(model, name):
    """At the chain's own times, the whole denoiser gives what diffusers' network gave."""
    case = CASES[name]
    x = noise((2, *model.shape), 1) * 1.7
    target = case["scheduler"].get("prediction_type")
    for row, (t, golden) in enumerate(zip(case["t"], case["out"], strict=True)):
        cond = {"label": torch.tensor(case["label"])} if case["label"] else None
        if target is None:  # their σ is our time
            at = model.sde.time(-2 * torch.tensor(t, dtype=torch.float64).log())
        else:
            at = torch.tensor((t + 1) / case["scheduler"]["num_train_timesteps"], dtype=torch.float64)
        said = model(x.double(), at, cond)
        out = {None: "score", "epsilon": "eps", "sample": "x0", "v_prediction": "v"}[target]
        assert close(getattr(said, out)[row], golden)


@every
def test_the_denoiser_gives_the_numbers_of_their_network(tmp_path, name):
    model = load(write(tmp_path, name))
    assert type(model.net).__name__ == NETWORKS.get(name, "UNet2D")
    assert not model.training
    check(model, name)


def test_the_process_is_that_of_the_scheduler(tmp_path):
    for name in CASES:
        model, said = load(write(tmp_path / name, name)), CASES[name]["scheduler"]
        if name == "ncsnpp":
            assert (model.sde.sigma_min, model.sde.sigma_max, model.range) == (0.01, 50.0, (0.0, 1.0))
            continue
        steps = said["num_train_timesteps"]
        assert (model.sde.steps, model.sde.t_min) == (steps, 1 / steps)
        assert model.range == (None if name in ("dit", "scale_shift") else (-1.0, 1.0))
        if said["beta_schedule"] == "linear":
            whole = torch.linspace(said["beta_start"], said["beta_end"], steps, dtype=torch.float64)
            t = torch.tensor(4 / steps, dtype=torch.float64)
            torch.testing.assert_close(model.sde.alpha(t) ** 2, (1 - whole[:4]).prod())
    assert sample(load(write(tmp_path / "again", "ddpm")), 2, steps=2).isfinite().all()


def test_other_places_and_files(tmp_path):
    """At the top, in shards, as a pickle, with the names of the first releases, and in a hub's cache."""
    check(load(write(tmp_path / "flat", "ddpm", flat=True)), "ddpm")

    made = tensors("ddpm")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in made.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = tensor
    folder = write(tmp_path / "old", "ddpm")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(renamed, folder / "unet/diffusion_pytorch_model.bin")
    check(load(folder), "ddpm")

    folder = shards(tmp_path / "shards", made)
    check(load(folder), "ddpm")

    blobs, snapshot = tmp_path / "hub/blobs", tmp_path / "hub/snapshots/abc"
    whole = write(tmp_path / "whole", "ddpm")
    blobs.mkdir(parents=True)
    for i, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(i))
        link.symlink_to(os.path.relpath(blobs / str(i), link.parent))
    check(load(snapshot), "ddpm")


def shards(folder, made, places=None):
    write(folder, "ddpm")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    names = sorted(made)
    files = {f"part-{i}.safetensors": names[i::2] for i in (0, 1)}
    for file, part in files.items():
        save_file({name: made[name] for name in part}, folder / "unet" / file)
    places = places or {name: file for file, part in files.items() for name in part}
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


CONFIGS = [
    ({"_target_": "os.system"}, "'_target_', which is no setting that is known"),
    ({"_class_name": "os.system"}, "its network is 'os.system', which is not read: .*UNet2DModel"),
    ({"_class_name": "UNet2DConditionModel"}, "which is not read: did you mean UNet2DModel"),
    ({"_class_name": {"a": 1}}, "its network is"),
    ({"auto_map": {"AutoModel": "evil.Model"}}, "'auto_map', which is no setting"),
    ({"act_fn": "!!python/object/apply:os.system"}, "act_fn = '!!python/object/apply:os.system', but only silu"),
    ({"act_fn": {"_target_": "os.system"}}, "act_fn = .* which is no value for it"),
    ({"act_fn": "gelu"}, "act_fn = 'gelu', but only silu is read"),
    ({"in_channels": "${oc.env:HOME}"}, "which is no value for it"),
    ({"layers_per_block": 10**9}, "layers_per_block|more than its weights|numbers"),
    ({"layers_per_block": 10**30}, "which is no value for it"),
    ({"block_out_channels": [32, 10**8]}, "more than its weights"),
    ({"block_out_channels": [32] * 10_000}, "which is no value for it"),
    ({"block_out_channels": [32]}, "not one block for each"),
    ({"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "the block 'CrossAttnDownBlock2D', where only"),
    ({"mid_block_type": None}, "mid_block_type = None: only UNetMidBlock2D is read"),
    ({"class_embed_type": "timestep"}, "class_embed_type = 'timestep': only a table"),
    ({"time_embedding_type": "fourier"}, "time_embedding_type = 'fourier', but only positional is read"),
    ({"downsample_padding": 2}, "downsample_padding = 2, but only 0 or 1 is read"),
    ({"out_channels": 5}, "out_channels = 5, but only 3 or 6 is read"),
    ({"sample_size": None}, "sample_size = None, but scoresde needs the size"),
    ({"norm_num_groups": None}, "norm_num_groups = null"),
    ({"time_embedding_dim": 7}, "time_embedding_dim"),
    ({"in_channels": None}, "describe"),
]


@pytest.mark.parametrize(("change", "message"), CONFIGS)
def test_configurations_are_plain_values_of_known_names(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, "ddpm", config=change))


SCHEDULERS = [
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "its scheduler is 'FlowMatchEulerDiscreteScheduler'"),
    ({"_class_name": "posix.system"}, "its scheduler is 'posix.system'"),
    ({"_class_name": None}, "its scheduler is None"),
    ({"_class_name": "ScoreSdeVeScheduler"}, "its scheduler is that of NCSN"),
    ({"_target_": "os.system"}, "'_target_', which is no setting"),
    ({"prediction_type": "flow"}, "prediction_type = 'flow', but only epsilon, sample, v_prediction are read"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule = 'sigmoid', but only linear, scaled_linear, squaredcos_cap_v2"),
    ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
    ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ({"num_train_timesteps": 0}, "its chain has 0 steps"),
    ({"num_train_timesteps": 1 << 30}, "steps"),
    ({"beta_end": 2.0}, "beta_end = 2.0"),
    ({"beta_start": float("nan")}, "beta_start"),
    ({"clip_sample_range": -1.0}, "range"),
]


@pytest.mark.parametrize(("change", "message"), SCHEDULERS)
def test_schedulers_that_are_no_process_of_ours_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, "ddpm", scheduler=change))


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "a/../../b.safetensors", "C:\\x.bin", "x.pkl", ""]
)
def test_an_index_names_files_of_its_folder(tmp_path, name):
    made = tensors("ddpm")
    save_file(made, tmp_path / "outside.safetensors")
    folder = shards(tmp_path / "in", made, dict.fromkeys(made, name))
    with pytest.raises(InputError, match=r"which is not in its folder|which is no file of weights|lacks its file"):
        load(folder)


def test_links_out_of_the_folder_are_refused(tmp_path):
    folder = write(tmp_path / "in", "ddpm")
    for file in ("unet/diffusion_pytorch_model.safetensors", "unet/config.json", "scheduler/scheduler_config.json"):
        kept = (folder / file).rename(tmp_path / "kept")
        (folder / file).symlink_to(kept)
        with pytest.raises(InputError, match=f"its file '{file}' is a link out of its folder"):
            load(folder)
        (folder / file).unlink()
        kept.rename(folder / file)
    (folder / "unet").rename(tmp_path / "unet")
    (folder / "unet").symlink_to(tmp_path / "unet")
    with pytest.raises(InputError, match="is a link out of its folder"):
        load(folder)


def test_weights_must_be_those_of_the_network(tmp_path):
    made = tensors("ddpm")
    name = "mid_block.attentions.0.to_k.weight"
    for odd, message in [
        ({k: v for k, v in made.items() if k != name}, f"it has no tensor {name}"),
        (made | {"extra.weight": torch.zeros(1)}, "its tensor extra.weight has no place"),
        (made | {"conv_in.weight": torch.zeros(32, 3, 1, 1)}, r"its tensor conv_in.weight .* has shape"),
        (made | {"conv_in.bias": torch.full((32,), torch.nan)}, "conv_in.bias holds NaN"),
        (made | {name: torch.zeros(64, 63)}, "cannot be made of"),
    ]:
        with pytest.raises(InputError, match=message):
            load(write(tmp_path, "ddpm", made=odd))
    shared = tensors("dit")
    key = next(k for k in shared if "blocks.1.norm1.emb" in k)
    with pytest.raises(InputError, match="do not share one embedding"):
        load(write(tmp_path / "dit", "dit", made=shared | {key: shared[key] + 1}))
    with pytest.raises(InputError, match="settings that NCSN"):
        load(write(tmp_path / "ncsnpp", "ncsnpp", config={"norm_eps": 1e-5}))


def test_what_is_missing_is_named(tmp_path):
    folder = write(tmp_path, "ddpm")
    (folder / "unet/config.json").write_text("{")
    with pytest.raises(InputError, match=r"its config\.json is not JSON"):
        load(folder)
    write(tmp_path, "ddpm")
    weights_file = folder / "unet/diffusion_pytorch_model.safetensors"
    with pytest.raises(InputError, match="give the folder, not the file in it"):
        load(weights_file)
    weights_file.write_bytes(weights_file.read_bytes()[:1000])
    with pytest.raises(InputError, match="truncated"):
        load(folder)
    weights_file.unlink()
    with pytest.raises(InputError, match=r"lacks its weights: unet/diffusion_pytorch_model.safetensors or .bin"):
        load(folder)
    write(tmp_path, "ddpm")
    (folder / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(InputError, match=r"has no scheduler/scheduler_config.json, which tells the process"):
        load(folder)
    model = load(folder, recipe="vp_ddpm_cifar10")
    assert type(model.sde).__name__ in ("DDPM", "VP")
