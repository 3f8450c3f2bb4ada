# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From $\mathrm{d}x = a\,\mathrm{d}t + \sigma\,\mathrm{d}w$ to samples
#
# A stochastic differential equation turns data into noise:
#
# $$\mathrm{d}x = a(x, t)\,\mathrm{d}t + \sigma(x, t)\,\mathrm{d}w, \qquad t = 0 \text{ (data)} \;\to\; t = t_{\max}
# \text{ (noise)}.$$
#
# Run backwards in time, it turns noise into data, and all that this takes is the **score** $\nabla_x \log p_t(x)$ of
# the noisy data. This notebook walks that way with pictures: forward, back by an SDE, back by an ODE, first with a
# score that is known exactly, then with one that a network has learned.
#
# The paper is Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole, *Score-based generative modeling through stochastic
# differential equations*, ICLR 2021 ([arXiv:2011.13456](https://arxiv.org/abs/2011.13456)); "eq. 6" below is its eq. 6.
# The paper's $f$ and $g$ are our $a$ and $\sigma$.

# %%
# %matplotlib inline
import math
import tempfile
from itertools import pairwise

import torch
from matplotlib.figure import Figure

from scoresde import plot
from scoresde.analytic import GaussianMixture
from scoresde.data.base import Samples
from scoresde.data.points import Points
from scoresde.ema.decay import Decay
from scoresde.grid.log_snr import LogSNR
from scoresde.loss.dsm import DSM
from scoresde.metric.energy import Energy
from scoresde.model.mlp import MLP
from scoresde.noise import Noise
from scoresde.param.eps import Eps
from scoresde.reverse import Reverse
from scoresde.sampling import trajectory
from scoresde.score import Denoiser
from scoresde.sde.vp import VP
from scoresde.solver.euler_maruyama import EulerMaruyama
from scoresde.solver.heun import Heun
from scoresde.solver.rk4 import RK4
from scoresde.training import Training, fit

torch.set_num_threads(1)  # the tensors here are small

INK, GREY, RED, ORANGE, TEAL, BLUE = "#1f2937", "#9ca3af", "#d1495b", "#e8973a", "#00798c", "#2f5d9f"


def panels(count, width=11.0, height=3.2):
    """A figure and its panels, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=90)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(GREY)
        panel.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9)
    return figure, axes


# %% [markdown]
# ## 1. Forward: an SDE makes noise of data
#
# The variance-preserving SDE (eq. 11) is
#
# $$\mathrm{d}x = -\tfrac12\beta(t)\,x\,\mathrm{d}t + \sqrt{\beta(t)}\,\mathrm{d}w .$$
#
# The drift pulls everything towards 0, the diffusion shakes it. Both can be read off the object:

# %%
sde = VP()
x, t = torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor(0.5)

print("β(t)      =", sde.beta(t))
print("drift     =", sde.drift(x, t).flatten(), " that is −½ β x for x =", x.flatten())
print("diffusion =", sde.diffusion(x, t), " that is √β")

# %% [markdown]
# The drift is linear in $x$ and the noise ignores it, so that the SDE has a Gaussian kernel (eq. 29): a state at time
# $t$ can be drawn in one go,
#
# $$x_t = \alpha_t\,x_0 + s_t\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I), \qquad
# \alpha_t = e^{-\frac12\int_0^t \beta}, \quad s_t^2 = 1 - \alpha_t^2 .$$

# %%
clock = torch.linspace(0, 1, 200, dtype=torch.float64)[1:]
figure, (left, right) = panels(2, width=9, height=2.8)
left.plot(clock, sde.beta(clock), color=BLUE)
left.set(title=r"$\beta(t)$: drift and diffusion grow", xlabel="$t$")
right.plot(clock, sde.alpha(clock), color=RED, label=r"signal $\alpha_t$")
right.plot(clock, sde.std(clock), color=TEAL, label="noise $s_t$")
right.set(title="what is left of the signal", xlabel="$t$")
right.legend(frameon=False)
figure

# %% [markdown]
# Our data lives on the line, in three clusters. A Gaussian mixture stays a Gaussian mixture under every such SDE, so
# its density $p_t$ and its score $\nabla \log p_t$ are known exactly at every time: a testbed in which nothing is
# learned, and everything can be checked.

# %%
mixture = GaussianMixture(
    sde,
    means=torch.tensor([[-1.2], [0.1], [1.3]]),
    covs=torch.tensor([0.02, 0.01, 0.03]),
    weights=torch.tensor([0.4, 0.25, 0.35]),
)
n = 2000
x0 = mixture.draw(Noise(seed=1, shape=(n, 1)))

# %% [markdown]
# Now the SDE itself, by the simplest method there is. Euler–Maruyama freezes $a$ and $\sigma$ over a short step and
# draws the increment $w_s - w_t \sim \mathcal N(0, (s - t) I)$ of Brownian motion:
#
# $$x_s = x_t + a(x_t, t)\,(s - t) + \sigma(x_t, t)\,(w_s - w_t) .$$
#
# The loop below is the method; `EulerMaruyama` is the same loop, number for number.

# %%
falling = LogSNR()(sde, steps=300)  # from t_max down to t_min, finer where there is little noise
rising = falling.flip(0)

x, noise = x0, Noise(seed=2, shape=(n, 1))
for t, s in pairwise(rising):
    x = x + sde.drift(x, t) * (s - t) + sde.noise(x, t, noise.brownian(t, s))

forward = list(EulerMaruyama().iterate(sde, x0, rising, Noise(seed=2, shape=(n, 1))))
print("the same numbers:", torch.equal(x, forward[-1][1]))

# %% [markdown]
# Two thousand paths, cut at five times: the histogram of the simulated states follows the exact density $p_t$, from the
# three clusters to $\mathcal N(0, 1)$, where nothing tells where a state came from.


# %%
def cut(path, time):
    """The time of a path that is nearest to a given one, and the states there."""
    return min(path, key=lambda state: abs(float(state[0]) - time))


line = torch.linspace(-3.3, 3.3, 400, dtype=torch.float64)
figure, axes = panels(5, width=13, height=2.5)
for panel, time in zip(axes, (0, 0.05, 0.15, 0.35, 1), strict=True):
    t, x = cut(forward, time)
    panel.hist(x.flatten(), bins=66, range=(-3.3, 3.3), density=True, color="#b3cfeb")
    panel.plot(line, mixture.log_prob(line[:, None], t).exp(), color=BLUE, linewidth=1.6)
    panel.set(title=f"$t = {float(t):.2f}$", xlabel="$x$", yticks=[])
    panel.spines["left"].set_visible(False)
figure

# %% [markdown]
# ## 2. Back: the reverse of an SDE is an SDE
#
# Anderson (1982) showed that the process seen backwards in time solves an SDE of its own (eq. 6):
#
# $$\mathrm{d}x = \big[a - \sigma^2\,\nabla \log p_t(x)\big]\,\mathrm{d}t + \sigma\,\mathrm{d}\bar w,
# \qquad t \text{ from } t_{\max} \text{ to } 0 .$$
#
# And there is an ODE, without any noise, whose states have the same law $p_t$ at every time: the **probability-flow
# ODE** (eq. 13),
#
# $$\mathrm{d}x = \big[a - \tfrac12\sigma^2\,\nabla \log p_t(x)\big]\,\mathrm{d}t .$$
#
# They are the two ends $\eta = 1$ and $\eta = 0$ of one family, all of whose members have the same marginals:
#
# $$\mathrm{d}x = \big[a - \tfrac12(1 + \eta^2)\,\sigma^2\,\nabla \log p_t(x)\big]\,\mathrm{d}t +
# \eta\,\sigma\,\mathrm{d}\bar w .$$
#
# `Reverse(model, eta=η)` is that equation. It is an SDE like the forward one, with a drift and a diffusion:

# %%
x, t = torch.tensor([[0.6]]), torch.tensor(0.1)
score = mixture(x, t).score
a, sigma = sde.drift(x, t), sde.diffusion(x, t)
for eta in (1.0, 0.0):
    reverse = Reverse(mixture, eta=eta)
    by_hand = a - (1 + eta**2) / 2 * sigma**2 * score
    print(f"η = {eta:.0f}: drift {reverse.drift(x, t).item():+.4f}, by hand {by_hand.item():+.4f};", end=" ")
    print(f"diffusion {reverse.diffusion(x, t).item():.4f}")

# %% [markdown]
# Three views of one density, which is shaded in blue. Look at the coloured paths: the SDEs forget where they came from,
# the ODE's paths are smooth and never cross, so that each noise has *its* sample.

# %%
figure = plot.three_views(mixture, paths=30)
figure.set_dpi(75)
figure

# %% [markdown]
# **The check.** If the equations are right, then the laws agree at *every* time, not only at the end. We run each
# process, cut it at four times, and measure the energy distance to fresh draws of the exact $p_t$. It is zero where two
# laws are equal; between two finite sets of draws of one law it is not: about 0.001 here, two or three times as much
# or as little by chance, as in the last column.


# %%
def check(model, forward, times=(0.02, 0.1, 0.3, 0.6)):
    """Energy distances to the exact p_t: of the forward process, of three reverses, and of p_t itself."""
    paths = {"forward": forward}
    for name, solver in (("η = 1", EulerMaruyama(eta=1)), ("η = ½", EulerMaruyama(eta=0.5)), ("η = 0", Heun(eta=0))):
        paths[name] = list(trajectory(model, n, solver=solver, steps=300, seed=3, denoise=False))
    print("t     " + "".join(f"{name:>10}" for name in [*paths, "exact"]))
    for time in times:
        t = cut(forward, time)[0]
        exact, again = (model.draw(Noise(seed, (n, *model.shape)), t) for seed in (4, 5))
        sets = [*(cut(path, time)[1] for path in paths.values()), again]
        print(f"{float(t):.2f}  " + "".join(f"{Energy().distance(states, exact):10.4f}" for states in sets))


check(mixture, forward)

# %% [markdown]
# ## 3. The same in the plane
#
# Nothing changes but the shape of the data. The score is now a vector field; it points to where the data is likely to
# have come from. Far from $t = 0$ that is the middle of everything, close to $t = 0$ it is the nearest cluster.

# %%
circle = Points("eight_gaussians").mixture(sde)
arrows = torch.cartesian_prod(*[torch.linspace(-2.4, 2.4, 17)] * 2)
pixels = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 160)] * 2)

figure, axes = panels(3, width=11.5, height=4.1)
for panel, time in zip(axes, (0.5, 0.2, 0.06), strict=True):
    t = torch.tensor(time)
    density = circle.log_prob(pixels, t).exp().reshape(160, 160)
    levels = density.max() * torch.linspace(0.03, 1, 12)
    panel.contourf(*pixels.T.reshape(2, 160, 160), density, levels=levels, cmap=plot.DENSITY)
    panel.quiver(*arrows.T, *circle(arrows, t).score.T, color=INK, alpha=0.75, width=0.005)
    panel.set(title=rf"$\nabla \log p_t$ at $t = {time}$", xlabel="$x_1$", aspect="equal")
    panel.label_outer()
axes[0].set_ylabel("$x_2$")
figure

# %%
figure = plot.three_views(circle, paths=32)
figure.set_dpi(75)
figure

# %%
points = circle.draw(Noise(seed=1, shape=(n, 2)))
check(circle, list(EulerMaruyama().iterate(sde, points, rising, Noise(seed=2, shape=(n, 2)))))

# %% [markdown]
# ## 4. What a solver's order looks like
#
# A method of order $p$ has an error that falls as $h^p$ when its steps $h$ become small: on logarithmic axes, a line of
# slope $-p$. Euler's method has order 1; Heun's, which averages the drift over both ends of a step, has order 2 for
# two evaluations of the score a step. We take the ODE from the same 200 noises with both, in double precision, and
# compare with the classical Runge–Kutta method of order 4 in 1,000 steps, whose own error is below anything shown.
#
# We plot the median error over the noises. A few of them lie on the watershed between two clusters; a coarse step sends
# them into the wrong one, and a mean would tell of these few only.

# %%
flow = Reverse(mixture, eta=0)
start = Noise(seed=6, shape=(200, 1), dtype=torch.float64).normal()
exact = RK4().solve(flow, start, LogSNR()(sde, 1000))

counts = (20, 40, 80, 160, 320, 640)
errors = {
    type(solver).__name__: [
        float((solver.solve(flow, start, LogSNR()(sde, steps)) - exact).abs().median()) for steps in counts
    ]
    for solver in (EulerMaruyama(), Heun())
}

# %%
figure, (panel,) = panels(1, width=5.6, height=3.8)
for (name, error), colour, mark in zip(errors.items(), (RED, TEAL), "os", strict=True):
    slope = math.log(error[-1] / error[-3]) / math.log(counts[-1] / counts[-3])
    print(f"{name:>14}: slope {slope:.2f}")
    panel.loglog(counts, error, marker=mark, color=colour, label=f"{name}, slope {slope:.2f}".replace("-", "−"))
panel.set(xlabel="steps", ylabel="median error", title="the probability-flow ODE at $t_{\\min}$")
panel.set_xticks(counts, map(str, counts))
panel.minorticks_off()
panel.grid(color="#eceff3")
panel.legend(frameon=False)
figure

# %% [markdown]
# ## 5. Learning the score
#
# For real data nobody knows $p_t$. But the score of the *kernel* is known, and the best guess of it given $x_t$ is the
# score of $p_t$ (Vincent 2011). So a network learns it by **denoising score matching** (eq. 7),
#
# $$\min_\theta\; \mathbb E_{t}\,\lambda(t)\;\mathbb E_{x_0, x_t}
# \big\| s_\theta(x_t, t) - \nabla_{x_t} \log p(x_t \mid x_0) \big\|^2 ,
# \qquad \nabla_{x_t} \log p(x_t \mid x_0) = -\varepsilon / s_t .$$
#
# A `Denoiser` is a network, the SDE that it denoises and a parameterization, which says what the network's output means
# (here: $\varepsilon$). The network knows nothing of SDEs.


# %%
def learn(model, steps=2000, batch=256):
    """Train an MLP on draws of a mixture; return the averaged model and the losses."""
    torch.manual_seed(0)  # of the first weights
    net = MLP(shape=model.shape, classes=0, width=64, depth=3)
    data = Samples(model.draw(Noise(seed=7, shape=(20_000, *model.shape))), None)
    how = Training(steps=steps, batch=batch, lr=3e-3, warmup=100, save_every=steps)
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for progress in fit(Denoiser(net, sde, Eps()), data, DSM(), how, folder, ema=Decay(0.995)):
            losses.append(progress.loss)
    return progress.average, losses


learned, losses = learn(mixture)
learned_circle, losses_circle = learn(circle)

# %% [markdown]
# The loss does not fall to zero, and should not: it compares with the score of one $x_0$, where the best answer is the
# mean over all that could have led to $x_t$. What the *exact* score scores is the floor.

# %%
figure, axes = panels(2, width=11, height=3)
runs = {"on the line": (mixture, losses), "in the plane": (circle, losses_circle)}
for panel, (where, (model, history)) in zip(axes, runs.items(), strict=True):
    draws = model.draw(Noise(seed=8, shape=(50_000, *model.shape)))
    floor = float(DSM()(model, draws, Noise(seed=9, shape=draws.shape)).mean())
    smooth = torch.tensor(history).unfold(0, 50, 1).mean(1)
    panel.plot(history, color=BLUE, alpha=0.2, linewidth=0.6)
    panel.plot(range(49, len(history)), smooth, color=BLUE, linewidth=1.6, label="loss, mean of 50 steps")
    panel.axhline(floor, color=RED, linewidth=1.2, linestyle="--", label=f"the exact score's: {floor:.3f}")
    panel.set(title=where, xlabel="step", ylim=(0.9 * floor, 2 * floor))
    panel.legend(frameon=False)
figure

# %% [markdown]
# **On the line**, the learned score over the exact one, both multiplied by $s_t$, so that all times have one scale. The
# network is right where there is data (shaded) and free to err where there is none. Below, the ODE from the same noises
# along both.

# %%
figure, axes = panels(4, width=13, height=3)
for panel, time in zip(axes, (0.5, 0.2, 0.08, 0.02), strict=True):
    t = torch.tensor(time)
    x = line[:, None].float()
    with torch.no_grad():
        scores = [sde.std(t) * model(x, t).score.flatten() for model in (mixture, learned)]
    panel.fill_between(line, 2 * mixture.log_prob(x, t).exp() - 4, -4, color="#d3e3f4", linewidth=0)
    panel.plot(line, scores[0], color=INK, linewidth=3, alpha=0.3, label="exact")
    panel.plot(line, scores[1], color=RED, linewidth=1.4, label="learned")
    panel.set(title=f"$t = {time}$", xlabel="$x$", xlim=(-3, 3), ylim=(-4, 4))
    panel.label_outer()
axes[0].set_ylabel(r"$s_t\,\nabla \log p_t$")
axes[0].legend(frameon=False, loc="upper right")
figure


# %%
def along(model, count):
    """Times and states of the probability-flow ODE, from the same noises for every model."""
    times, states = zip(*trajectory(model, count, steps=100, seed=10, denoise=False), strict=True)
    return torch.stack(times), torch.stack(states)


figure, (left, right) = panels(2, width=11, height=3.8)
for panel, model, title in ((left, mixture, "exact score"), (right, learned, "learned score")):
    plot.trajectories_1d(panel, *along(model, 40), mixture.log_prob, limit=3)
    panel.set_title(title)
    panel.label_outer()
figure

# %% [markdown]
# **In the plane**, where a noise ends by the exact score and where it ends by the learned one, with a line between the
# two, and samples of the learned model.

# %%
(times, truth), (_, guess) = along(circle, 150), along(learned_circle, 150)
ends = torch.stack([truth[-1], guess[-1]])

figure, (left, right) = panels(2, width=9.4, height=4.6)
left.plot(*ends.permute(2, 0, 1), color=GREY, linewidth=0.8)
left.scatter(*ends[0].T, s=22, color=INK, alpha=0.35, linewidths=0, label="exact score")
left.scatter(*ends[1].T, s=9, color=RED, linewidths=0, label="learned score")
left.set_title("the same noises, two scores")
left.legend(frameon=False, loc="center")
plot.trajectories_2d(right, times, guess[:, :120], circle.log_prob)
right.set_title("noise to data by the learned score")
for panel in (left, right):
    panel.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    panel.label_outer()
figure

# %% [markdown]
# The error in numbers. Over draws of $p_t$: $\mathbb E\,\|s_\theta - \nabla \log p_t\|^2 / \mathbb E\,\|\nabla \log
# p_t\|^2$, and, for the samples, the energy distance to the data, beside that of two sets of data.

# %%
for where, model, student in (("line", mixture, learned), ("plane", circle, learned_circle)):
    shares = []
    for time in (0.02, 0.08, 0.2, 0.5):
        t = torch.tensor(time)
        x = model.draw(Noise(seed=11, shape=(n, *model.shape)), t)
        with torch.no_grad():
            exact, guess = model(x, t).score, student(x, t).score
        shares.append(f"{float((guess - exact).square().sum() / exact.square().sum()):.1%} at t = {time}")
    print(f"{where:>5}: error of the score " + ", ".join(shares))
    data, more = (model.draw(Noise(seed, (n, *model.shape))) for seed in (12, 13))
    *_, (_, made) = trajectory(student, n, steps=50, seed=14)
    print(f"       energy distance: samples {Energy().distance(made, data):.4f},", end=" ")
    print(f"data {Energy().distance(more, data):.4f}")

# %% [markdown]
# ## 6. Where to go next
#
# - **Another SDE.** Write `SubVP()`, `Cosine()` or `Rectified()` for `VP()` above and run again. A new SDE is one new
#   file with its $\alpha_t$ and $s_t^2$; the README has one.
# - **Another solver.** Any solver that asks only for drift and diffusion runs all three equations. `DDIM` and
#   `Ancestral` know more about the kernel; `PredictorCorrector` adds Langevin steps (algorithm 1 of the paper).
# - **Images.** `make demo` does section 5 with a U-Net on scanned digits. Only the network and the data are others.
# - **The command line.** `python train.py data=points data.kind=eight_gaussians model=mlp steps=3000`, then
#   `python sample.py solver=heun` and `python evaluate.py`.
# - **The symbols** of other papers are in `docs/notation.md`, the plan of the library in `docs/architecture.md`.
