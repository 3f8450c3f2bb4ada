"""The process that a scheduler_config.json stands for, and what its network predicts."""

from collections.abc import Mapping
from typing import Any

from scoresde.compat.configured.config import configured
from scoresde.errors import InputError, nearest
from scoresde.param.base import Parameterization
from scoresde.registry import build
from scoresde.sde.base import GaussianSDE

__all__ = ["chain", "process"]

# whatever the solver: the network was trained on the chain of their betas
_CHAINS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "DDIMInverseScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
)
# fmt: off
_SAMPLING = [
    "algorithm_type", "clip_sample_range", "correct_steps", "disable_corrector", "dynamic_thresholding_ratio",
    "euler_at_final", "final_sigmas_type", "flow_shift", "interpolation_type", "lambda_min_clipped",
    "lower_order_final", "predict_x0", "sample_max_value", "sampling_eps", "set_alpha_to_one", "shift_terminal",
    "sigma_max", "sigma_min", "skip_prk_steps", "snr", "solver_order", "solver_p", "solver_type",
    "steps_offset", "thresholding", "time_shift_type", "timestep_spacing", "timestep_type", "use_beta_sigmas",
    "use_dynamic_shifting", "use_exponential_sigmas", "use_flow_sigmas", "use_karras_sigmas", "use_lu_lambdas",
    "variance_type", "tensor_format", "timestep_values",
]
# fmt: on
_KNOWN: dict[str, Any] = dict.fromkeys(_SAMPLING) | {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "prediction_type": "epsilon",
    "clip_sample": True,
}
_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "squaredcos"}
_TARGETS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def process(
    config: Mapping[str, Any], network: str
) -> tuple[GaussianSDE, Parameterization, tuple[float, float] | None]:
    """The process, the parameterization and the data's range.

    Args:
        config: the scheduler's, as read from a file.
        network: the name of our network.

    Raises:
        InputError: for a scheduler that is not known, or whose process is none of ours.
    """
    kind = config.get("_class_name")
    said = configured(config, _KNOWN, "scheduler")
    if kind == "ScoreSdeVeScheduler":
        if network != "ncsnpp":
            raise InputError("its scheduler is that of NCSN++, but its network is not")
        sigmas = {"sigma_min": said["sigma_min"] or 0.01, "sigma_max": said["sigma_max"] or 1348.0}
        # the network's own output is the score times σ, and it reads log σ
        param = build("param", {"name": "published", "target": "minus_eps", "scaled": False})
        return build("sde", {"name": "ve", **sigmas}), param, (0.0, 1.0)
    if kind not in _CHAINS:
        raise InputError(f"its scheduler is {kind!r:.80}: {nearest(str(kind), [*_CHAINS, 'ScoreSdeVeScheduler'])}")
    if network == "ncsnpp":
        raise InputError(f"its network is NCSN++, but its scheduler is {kind}: it must be ScoreSdeVeScheduler")
    if said["trained_betas"] is not None or said["rescale_betas_zero_snr"]:
        raise InputError("its scheduler has trained_betas or rescale_betas_zero_snr, which no process of scoresde has")
    schedule = _option(said, "beta_schedule", _SCHEDULES)
    betas = {"schedule": schedule, "beta_start": said["beta_start"], "beta_end": said["beta_end"]}
    if schedule == "squaredcos":
        betas = {"schedule": schedule}
    sde, param = chain(betas, said["num_train_timesteps"], _option(said, "prediction_type", _TARGETS))
    reach = float(said["clip_sample_range"] or 1.0)
    # latent codes are not clipped, and a transformer's data are latent codes
    return sde, param, None if network == "dit" or not said["clip_sample"] else (-reach, reach)


def chain(
    betas: Mapping[str, Any], steps: int, target: str = "eps", pace: float = 1.0
) -> tuple[GaussianSDE, Parameterization]:
    """A chain of so many steps, and a network that is told the step's index.

    Args:
        betas: fields of ``sde=ddpm``.
        steps: N > 1.
        target: what the network predicts, as ``param=published`` says it.
        pace: what the network is told at each step, times its index.
    """
    if not isinstance(steps, int) or steps < 2:
        raise InputError(f"its chain has {steps} steps, but it must have at least 2")
    sde: GaussianSDE = build("sde", {"name": "ddpm", **betas, "steps": steps, "t_min": 1 / steps})
    # our features multiply by 250 what is N·t − 1 to theirs
    clock = {"clock": "time", "factor": steps * pace / 250, "offset": -pace / 250}
    param: Parameterization = build("param", {"name": "published", "target": target, "scaled": False, **clock})
    return sde, param


def _option(said: Mapping[str, Any], setting: str, options: Mapping[str, str]) -> str:
    if said[setting] not in options:
        raise InputError(f"its scheduler has {setting} = {said[setting]!r:.80}, but only {', '.join(options)} are read")
    return options[said[setting]]
