"""What a step costs beside the network: this package's steps and other packages', with a network that costs nothing.

    python benchmarks/overhead.py            a step on (16, 3, 32, 32) in float32, on one thread
    python benchmarks/overhead.py --device cuda

A whole run is timed, the making of its coefficients included, and divided by its steps; the runs of all packages
alternate, and the shortest of each counts. First everybody is handed x_0, as k-diffusion and azula want it; then ε, as
networks say it, by this package's `Denoiser` and by diffusers.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from peers import k_sampling
from torch import Tensor

from scoresde import registry
from scoresde.model.base import Network
from scoresde.reverse import Reverse
from scoresde.score import Denoiser, GaussianPrediction, ScoreModel
from scoresde.sde.vp import VP
from scoresde.tensor import expand

SHAPE = (3, 32, 32)
Runs = dict[str, Callable[[], Any]]
"""A whole run of so many steps, by package."""

METHODS: dict[str, dict[str, Any]] = {
    "ddim": {"name": "ddim"},
    "heun": {"name": "heun"},
    "dpmpp": {"name": "dpmpp", "order": 2},
    "unipc": {"name": "unipc"},
}


class _Told(ScoreModel):
    """A score model to which x_0 is given."""

    def __init__(self, x0: Tensor) -> None:
        super().__init__()
        self.sde, self.shape, self.x0 = VP(), SHAPE, x0

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> GaussianPrediction:
        return GaussianPrediction(x, self.x0, expand(self.sde.alpha(t), x), expand(self.sde.std(t), x))


class _Free(Network):
    """A network that says always the same."""

    def __init__(self, out: Tensor) -> None:
        super().__init__(SHAPE, 0)
        self.out = torch.nn.Parameter(out)

    def forward(self, x: Tensor, noise: Tensor, **_: Any) -> Tensor:
        return self.out


def ours(method: str, said: str, x: Tensor, out: Tensor, steps: int) -> Runs:
    """This package's solver."""
    solver = registry.build("solver", METHODS[method])
    model = _Told(out) if said == "x0" else Denoiser(_Free(out), VP(), registry.build("param", "eps"))
    ts = registry.build("grid", "log_snr")(model.sde, steps)
    return {"scoresde": lambda: solver.solve(Reverse(model, eta=0.0), x, ts)}


def diffusers(method: str, said: str, x: Tensor, out: Tensor, steps: int) -> Runs:
    """Its scheduler of the same method."""
    import diffusers as d

    name = {"ddim": "DDIM", "heun": "HeunDiscrete", "dpmpp": "DPMSolverMultistep", "unipc": "UniPCMultistep"}[method]
    if method == "heun" and said == "x0":
        return {}  # not implemented there
    options: dict[str, Any] = {"prediction_type": "sample" if said == "x0" else "epsilon"}
    options |= {"clip_sample": False} if method == "ddim" else {}
    made = getattr(d, f"{name}Scheduler")(**options)

    def run() -> Tensor:
        made.set_timesteps(steps, device=x.device)
        y = x
        for t in made.timesteps:
            made.scale_model_input(y, t)
            y = made.step(out, t, y, return_dict=False)[0]
        return y

    return {"diffusers": run}


def k_diffusion(method: str, said: str, x: Tensor, out: Tensor, steps: int) -> Runs:
    """Its sampler of the same method; Euler in σ̂ is DDIM."""
    samplers = {"ddim": "sample_euler", "heun": "sample_heun", "dpmpp": "sample_dpmpp_2m"}
    if said != "x0" or method not in samplers:
        return {}
    k = k_sampling()
    sampler = getattr(k, samplers[method])

    def run() -> Tensor:
        levels = k.get_sigmas_exponential(steps + 1, 0.001, 150.0, device=x.device)[:-1]
        return sampler(lambda y, level, **_: out, x, levels, disable=True)

    return {"k-diffusion": run}


def azula(method: str, said: str, x: Tensor, out: Tensor, steps: int) -> Runs:
    """Its sampler of the same method; xEAB of order 2 is the exponential integrator behind DPM-Solver++(2M)."""
    kinds = {"ddim": ("DDIMSampler", {}), "heun": ("HeunSampler", {}), "dpmpp": ("xEABSampler", {"order": 2})}
    if said != "x0" or method not in kinds:
        return {}
    from azula import denoise, noise, sample

    class Told(denoise.Denoiser):  # type: ignore[misc]
        schedule = noise.VPSchedule()

        def forward(self, y: Tensor, t: Tensor, **_: Any) -> Any:
            return denoise.DiracPosterior(out)

    kind, options = kinds[method]
    sampler = getattr(sample, kind)(Told(), steps=steps, silent=True, **options)
    return {"azula": lambda: sampler(x)}


def measure(runs: Runs, steps: int, repeats: int, device: str) -> dict[str, float]:
    """The shortest time of a step, in seconds."""
    clock = time.perf_counter if device == "cuda" else time.process_time  # others on the machine do not count
    least = dict.fromkeys(runs, math.inf)
    for _ in range(repeats + 1):  # the first warms up; a shortest time does not mind it
        for name, run in runs.items():
            begun = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            least[name] = min(least[name], clock() - begun)
    return {name: spent / steps for name, spent in least.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    x, out = (torch.randn(chosen.batch, *SHAPE, device=chosen.device) for _ in range(2))
    print(f"{'the network says':<18}{'method':<8}{'scoresde':>10}{'best peer':>22}{'ratio':>8}   all, µs a step")
    for said in ("x0", "eps"):
        for method in METHODS:
            runs: Runs = {}
            for package in (ours, diffusers, k_diffusion, azula):
                try:
                    runs |= package(method, said, x, out, chosen.steps)
                except (ImportError, PackageNotFoundError):
                    continue
            with torch.no_grad():
                spent = measure(runs, chosen.steps, chosen.repeats, chosen.device)
            mine = spent.pop("scoresde")
            each = "  ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in spent.items())
            name, least = min(spent.items(), key=lambda pair: pair[1], default=("no peer", math.nan))
            text = f"{name} {least * 1e6:.0f}"
            print(f"{said:<18}{method:<8}{mine * 1e6:>10.0f}{text:>22}{mine / least:>8.2f}   {each}", flush=True)
    print(
        f"torch {version('torch')}, batch ({chosen.batch}, 3, 32, 32) float32 on {chosen.device}, {chosen.steps} steps"
    )


if __name__ == "__main__":
    main()
