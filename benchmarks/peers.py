"""Samplers of other packages, on the benchmark's exact scores: each runs its own code, on its own grids.

A `Peer` takes a `Flow`, spends exactly the network evaluations that it is given, or says that it cannot, and returns
the data. A grid that a package makes in float32 is left as it is, but coefficients are lifted to float64 where it lets
one, so that rounding is nobody's error. Only deterministic samplers; the last step is the package's default.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from problems import Problem, sigma
from torch import Tensor

from scoresde.sde.base import GaussianSDE

__all__ = ["Flow", "Impossible", "Peer", "k_sampling", "peers"]

F64 = torch.float64


class Impossible(Exception):
    """A configuration that cannot spend so many evaluations."""


class Flow:
    """An initial value problem: states x̂ at σ̂ = top, and the exact model, which counts its evaluations.

    Args:
        problem, process: the cell of the benchmark's table.
    """

    def __init__(self, problem: Problem, process: GaussianSDE) -> None:
        self.process, self.exact = process, problem.exact
        x, _ = problem.paths(process)
        self.x = x / process.alpha(torch.tensor(process.t_max, dtype=F64))
        self.top, self.bottom = (sigma(process, t) for t in (process.t_max, process.t_min))
        self.calls = 0

    def __call__(self, x: Tensor, level: Any) -> Any:
        """The exact prediction for x̂ at σ̂: one evaluation."""
        self.calls += 1
        t = torch.as_tensor(level, dtype=F64).reshape(-1)[0].clamp(1e-9, 1e4)
        return self.exact(x.to(F64), t)


@dataclass(frozen=True)
class Peer:
    """A configuration of a package.

    Args:
        package: as PyPI knows it.
        name: says the sampler and its options.
        run: spends so many evaluations on a `Flow`.
    """

    package: str
    name: str
    run: Callable[[Flow, int], Tensor]

    @property
    def version(self) -> str:
        """Of the package."""
        return importlib.metadata.version(self.package)

    def __call__(self, flow: Flow, nfe: int) -> Tensor:
        """The data, float64, after exactly nfe evaluations.

        Raises:
            Impossible: where the sampler takes more or fewer.
        """
        flow.calls = 0
        before = torch.get_default_dtype()
        torch.set_default_dtype(F64)  # what a package makes without naming a precision
        try:
            with torch.no_grad(), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                end = self.run(flow, nfe)
        finally:
            torch.set_default_dtype(before)
        if flow.calls != nfe:
            raise Impossible
        return end.to(F64)


def peers(package: str) -> Iterator[Peer]:
    """All configurations of a package that is installed."""
    make = {"k-diffusion": _k_diffusion, "diffusers": _diffusers, "azula": _azula, "flow-matching": _flow_matching}
    for name, run in make[package]():
        yield Peer(package, name, run)


Made = Iterator[tuple[str, Callable[[Flow, int], Tensor]]]


# k-diffusion: σ̂ is its time, and a zero is appended to its grids


def k_sampling() -> Any:
    """k_diffusion.sampling without the package around it, which imports torchvision, CLIP and wandb."""
    if "k_diffusion.sampling" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        assert spec is not None
        package = types.ModuleType("k_diffusion")
        package.__path__ = list(spec.submodule_search_locations or [])
        part = types.ModuleType("k_diffusion.utils")
        part.append_dims = lambda x, ndim: x[(...,) + (None,) * (ndim - x.ndim)]  # all that sampling takes of it
        package.utils = part
        sys.modules |= {"k_diffusion": package, "k_diffusion.utils": part}
    return importlib.import_module("k_diffusion.sampling")


def _k_diffusion() -> Made:
    k = k_sampling()
    grids: dict[str, Callable[[int, float, float], Tensor]] = {
        "karras": k.get_sigmas_karras,
        "karras3": partial(k.get_sigmas_karras, rho=3.0),
        "exponential": k.get_sigmas_exponential,
        "polyexponential0.7": partial(k.get_sigmas_polyexponential, rho=0.7),
        "polyexponential1.3": partial(k.get_sigmas_polyexponential, rho=1.3),
    }
    still = {"eta": 0.0, "noise_sampler": lambda *_: 0.0}
    samplers: dict[str, tuple[Any, dict[str, Any]]] = {
        "euler": (k.sample_euler, {}),
        "heun": (k.sample_heun, {}),
        "dpm_2": (k.sample_dpm_2, {}),
        "lms2": (k.sample_lms, {"order": 2}),
        "lms3": (k.sample_lms, {"order": 3}),
        "lms4": (k.sample_lms, {"order": 4}),
        "dpmpp_2s": (k.sample_dpmpp_2s_ancestral, still),
        "dpmpp_sde_eta0": (k.sample_dpmpp_sde, still),
        "dpmpp_2m": (k.sample_dpmpp_2m, {}),
        "dpmpp_2m_sde_eta0_heun": (k.sample_dpmpp_2m_sde, {**still, "solver_type": "heun"}),
        "dpmpp_3m_sde_eta0": (k.sample_dpmpp_3m_sde, still),
    }

    def model(flow: Flow) -> Callable[..., Tensor]:
        return lambda x, level, **_: flow(x, level).x0

    def run(sampler: Any, options: dict[str, Any], grid: Any, flow: Flow, nfe: int) -> Tensor:
        for steps in (nfe, (nfe + 1) // 2):  # one evaluation a step, or two except in the last
            flow.calls = 0
            end = sampler(model(flow), flow.x, grid(steps, flow.bottom, flow.top), disable=True, **options)
            if flow.calls == nfe:
                return end
        raise Impossible

    for (name, (sampler, options)), (grid_name, grid) in product(samplers.items(), grids.items()):
        yield f"{name} {grid_name}", partial(run, sampler, options, grid)
    yield (
        "dpm_fast",
        lambda flow, nfe: k.sample_dpm_fast(model(flow), flow.x, flow.bottom, flow.top, nfe, disable=True),
    )


# diffusers: x = x̂/√(1 + σ̂²) or x̂, on a table of 1,000 noise levels


def _table(process: GaussianSDE) -> Tensor:
    """σ̂ at a thousand equal times."""
    t = torch.linspace(process.t_min, process.t_max, 1000, dtype=F64)
    return (-process.log_snr(t) / 2).exp()


def _diffusers() -> Made:
    d = importlib.import_module("diffusers")
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    importlib.import_module("diffusers.utils.logging").set_verbosity_error()

    def build(name: str, flow: Flow, options: dict[str, Any]) -> Any:
        """A scheduler whose table is the process's, in float64."""
        levels = _table(flow.process)
        clean = 1 / (1 + levels**2)
        betas = 1 - clean / torch.cat([clean.new_ones(1), clean[:-1]])
        made = getattr(d, name)(trained_betas=betas.tolist(), **options)
        made.alphas_cumprod = clean
        for field, value in {
            "alpha_t": clean.sqrt(),
            "sigma_t": (1 - clean).sqrt(),
            "lambda_t": -levels.log(),
            "final_alpha_cumprod": clean.new_ones(()) if options.get("set_alpha_to_one") else clean[0],
        }.items():
            if hasattr(made, field):
                setattr(made, field, value)
        return made

    def schedule(made: Any, nfe: int) -> None:
        """As many steps as make the loop nfe long."""
        for steps in (nfe, (nfe + 1) // 2, nfe // 2, *range(nfe - 1, 2, -1)):
            with contextlib.suppress(ValueError, IndexError, ZeroDivisionError):
                made.set_timesteps(steps)
                if len(made.timesteps) == nfe:
                    return
        raise Impossible

    def run(name: str, options: dict[str, Any], space: str, flow: Flow, nfe: int) -> Tensor:
        made = build(name, flow, options)
        schedule(made, nfe)
        if hasattr(made, "sigmas"):
            for field in ("sigmas", "sigmas_interpol"):
                if hasattr(made, field):
                    setattr(made, field, getattr(made, field).to(F64))
            made.set_begin_index(0)
        made.is_scale_input_called = True
        indexed = space == "index"  # a scheduler that knows no levels but those of its table
        levels = (1 / made.alphas_cumprod - 1).sqrt()[made.timesteps] if indexed else made.sigmas
        if abs(float(levels[0]) / flow.top - 1) > 1e-5:
            raise Impossible  # a grid that does not start where the paths do
        x = flow.x if space == "x̂" else flow.x / (1 + flow.top**2) ** 0.5
        for i, t in enumerate(made.timesteps):
            level = levels[i]
            if hasattr(made, "sigmas_interpol") and not made.state_in_first_order:
                level = made.sigmas_interpol[i]
            p = flow(x if space == "x̂" else x * (1 + level**2) ** 0.5, level)
            said = p.x0 if options["prediction_type"] == "sample" else p.eps
            x = made.step(said, t, x, return_dict=False)[0]
        last = 0.0 if indexed else float(made.sigmas[-1])
        return x if space == "x̂" else x * (1 + last**2) ** 0.5

    spaced = {"linspace": {"timestep_spacing": "linspace"}, "trailing": {"timestep_spacing": "trailing"}}
    bent = {"karras": {"use_karras_sigmas": True}, "exponential": {"use_exponential_sigmas": True}}
    beta, lu = {"beta": {"use_beta_sigmas": True}}, {"lu": {"use_lu_lambdas": True}}

    def family(label: str, name: str, space: str, grids: dict[str, Any], **options: Any) -> Made:
        for grid_name, grid in grids.items():
            chosen = {"prediction_type": "sample", **options, **grid}
            yield f"{label} {grid_name}", partial(run, name, chosen, space)

    multi, single, unipc = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"
    for order, kind in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "midpoint")):
        label = f"dpm++{order}m {kind}" if order == 2 else f"dpm++{order}m"
        grids = spaced | bent | lu | (beta if kind == "midpoint" else {})
        yield from family(label, multi, "x", grids, solver_order=order, solver_type=kind)
    for order in (2, 3):
        yield from family(
            f"dpm{order}m",
            multi,
            "x",
            spaced | bent | lu,
            solver_order=order,
            algorithm_type="dpmsolver",
            final_sigmas_type="sigma_min",
        )
        yield from family(f"dpm++{order}s", single, "x", {"linspace": {}} | bent, solver_order=order)
    for order, kind in product((1, 2, 3), ("bh1", "bh2")):
        last = {"bh1": "sigma_min", "bh2": "zero"}[kind]  # bh1 has no last step to zero: it gives NaN there
        options = {"solver_order": order, "solver_type": kind, "final_sigmas_type": last}
        yield from family(f"unipc{order} {kind}", unipc, "x", spaced | bent, **options)
    for order in (1, 2, 3):
        yield from family(f"deis{order}", "DEISMultistepScheduler", "x", spaced | bent, solver_order=order)
    for predictor, corrector in ((2, 2), (3, 4)):
        yield from family(
            f"sa{predictor}{corrector} tau0",
            "SASolverScheduler",
            "x",
            spaced | bent,
            predictor_order=predictor,
            corrector_order=corrector,
            tau_func=lambda t: 0,
        )
    for label, name in {
        "euler": "EulerDiscreteScheduler",
        "heun": "HeunDiscreteScheduler",
        "lms4": "LMSDiscreteScheduler",
        "dpm_2": "KDPM2DiscreteScheduler",
    }.items():
        yield from family(label, name, "x̂", {"linspace": {}} | bent, prediction_type="epsilon")
    one = {"set_alpha_to_one": True}
    yield from family("ddim", "DDIMScheduler", "index", spaced, clip_sample=False, **one)
    yield from family("pndm", "PNDMScheduler", "index", spaced, prediction_type="epsilon", **one)
    yield from family("plms", "PNDMScheduler", "index", spaced, prediction_type="epsilon", skip_prk_steps=True, **one)

    def run_edm(name: str, options: dict[str, Any], flow: Flow, nfe: int) -> Tensor:
        """The schedulers that precondition: their model says F where x_0 = skip x + out F."""
        made = getattr(d, name)(sigma_min=flow.bottom, sigma_max=flow.top, sigma_data=0.5, **options)
        made.set_timesteps(nfe)
        made.sigmas = made.sigmas.to(F64)
        made.set_begin_index(0)
        made.is_scale_input_called = True
        x = flow.x
        for i, t in enumerate(made.timesteps):
            level = made.sigmas[i]
            skip, out = 0.25 / (level**2 + 0.25), level * 0.5 / (level**2 + 0.25) ** 0.5
            x = made.step((flow(x, level).x0 - skip * x) / out, t, x, return_dict=False)[0]
        return x

    for grid in ("karras", "exponential"):
        for order, kind in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "midpoint")):
            label = f"edm-dpm++{order}m {kind}" if order == 2 else f"edm-dpm++{order}m"
            options = {"sigma_schedule": grid, "solver_order": order, "solver_type": kind}
            yield f"{label} {grid}", partial(run_edm, "EDMDPMSolverMultistepScheduler", options)
        yield f"edm-euler {grid}", partial(run_edm, "EDMEulerScheduler", {"sigma_schedule": grid})


# azula: α and s of a time in [0, 1], where its samplers stop at t = 0 with the least noise


def _azula() -> Made:
    sample, denoise, noise = (importlib.import_module(f"azula.{part}") for part in ("sample", "denoise", "noise"))

    class Along(noise.Schedule):  # type: ignore[name-defined,misc]
        """The process itself, in its own time or with equal steps of log σ̂."""

        def __init__(self, flow: Flow, clock: str) -> None:
            self.flow, self.clock = flow, clock

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            process = self.flow.process
            if self.clock == "t":
                time = process.t_min + t * (process.t_max - process.t_min)
            else:
                low, high = np.log(self.flow.bottom), np.log(self.flow.top)
                time = process.time(-2 * (low + t * (high - low)))
            return process.alpha(time), process.std(time)

    class Exact(denoise.Denoiser):  # type: ignore[name-defined,misc]
        def __init__(self, flow: Flow, schedule: Any) -> None:
            super().__init__()
            self.flow, self.schedule = flow, schedule

        def forward(self, x: Tensor, t: Tensor, **_: Any) -> Any:
            alpha, std = self.schedule(t)
            return denoise.DiracPosterior(self.flow(x / alpha, std / alpha).x0)

    def own(kind: str) -> Callable[[Flow], Any]:
        """A schedule of azula's, with the process's ends."""

        def make(flow: Flow) -> Any:
            if kind in {"VPSchedule", "CosineSchedule"}:
                least = ((1 + flow.bottom**2) / (1 + flow.top**2)) ** 0.5
            else:
                least = 1 / flow.top
            return getattr(noise, kind)(alpha_min=least, sigma_min=flow.bottom)

        return make

    schedules: dict[str, Callable[[Flow], Any]] = {
        "log": lambda flow: Along(flow, "log"),
        "t": lambda flow: Along(flow, "t"),
        "vp": own("VPSchedule"),
        "cosine": own("CosineSchedule"),
        "rectified": own("RectifiedSchedule"),
        "decay": own("DecaySchedule"),
    }

    def run(kind: str, options: dict[str, Any], make: Any, mean: bool, flow: Flow, nfe: int) -> Tensor:
        schedule = make(flow)
        steps, rest = divmod(nfe - mean, 2 if kind == "HeunSampler" else 1)
        if rest or not steps:
            raise Impossible
        sampler = getattr(sample, kind)(Exact(flow, schedule), steps=steps, silent=True, dtype=F64, **options)
        one = torch.ones((), dtype=F64)
        x = sampler(schedule(one)[0] * flow.x)
        alpha, std = schedule(one * 0)
        return flow(x / alpha, std / alpha).x0 if mean else x / alpha

    samplers = [("DDIMSampler", {}), ("HeunSampler", {})]
    samplers += [
        (f"{kind}Sampler", {"order": order})
        for kind, order in product(("zAB", "vAB", "zEAB", "xEAB", "REAB"), (2, 3, 4))
    ]
    for (kind, options), (grid, make) in product(samplers, schedules.items()):
        name = f"{kind.removesuffix('Sampler')}{options.get('order', '')} {grid}"
        yield name, partial(run, kind, options, make, False)
        if grid == "log" and kind in {"xEABSampler", "zEABSampler"}:
            yield f"{name} + mean", partial(run, kind, options, make, True)


# flow-matching: x = (1 − u) ε + u x_0 with u from 0 to 1


def _flow_matching() -> Made:
    solver = importlib.import_module("flow_matching.solver.ode_solver")

    def run(method: str, stages: int, flow: Flow, nfe: int) -> Tensor:
        steps, rest = divmod(nfe, stages)
        if rest:
            raise Impossible

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            p = flow(x / t, (1 - t) / t)
            return p.x0 - p.eps

        start = 1 / (1 + flow.top)
        grid = torch.linspace(start, 1, steps + 1, dtype=F64)
        return solver.ODESolver(velocity).sample(start * flow.x, None, method, time_grid=grid)

    for method, stages in {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}.items():
        yield method, partial(run, method, stages)
