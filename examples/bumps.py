"""Four bumps out of 16,000 mixtures: the classic toy problem, and the bases as they emerge.

    python examples/bumps.py [--out FOLDER] [--size MIXTURES]

Four overlapping Gaussian bumps of 512 points are mixed 16,000 times in random amounts, with noise. Only the mixtures
are known. The picture shows how Lee and Seung's multiplicative updates carve the bumps out of noise, pass by pass,
and how many passes the other solvers need: when the mixtures are larger than memory, passes determine the cost.
"""

import numpy as np
from gallery import BLACK, COLOURS, arguments, draw, save, tidy

import dnmf

POINTS, NOISE = 512, 0.05
MOMENTS = (1, 5, 10, 20, 40, 100)
SOLVERS = {
    "multiplicative": {"solver": "mu", "init": "random", "sweeps": 1, "max_passes": 100},
    "hals": {"solver": "hals", "init": "random", "max_passes": 40},
    "dnmf's default": {},
}

options = arguments(__doc__, size=16_000, unit="mixtures")
rng = np.random.default_rng(7)
points = np.arange(POINTS)
centres, widths = np.array([110, 200, 290, 400]), np.array([35, 40, 30, 50])
bumps = np.exp(-0.5 * ((points[:, None] - centres) / widths) ** 2)
amounts = rng.exponential(size=(4, options.size))
V = (bumps @ amounts + NOISE * rng.random((POINTS, options.size))).astype("float32")

curves, snapshots = {}, {}
for name, choice in SOLVERS.items():
    curves[name] = {}
    for step in dnmf.iterate(V, rank=4, seed=3, **choice):
        curves[name][step.passes] = step.relative_error
        if name == "multiplicative" and step.passes in MOMENTS:
            snapshots[step.passes] = step.W
    print(f"{name:15} {step.passes:3} passes, relative error {step.relative_error:.4f}")

found = np.corrcoef(step.W.T, bumps.T)[:4, 4:]  # of every column of W with every bump
order, correlations = found.argmax(axis=0), found.max(axis=0)
print("correlation with the true bumps:", " ".join(f"{value:.4f}" for value in correlations))

figure = draw(9, 5.6, f"Four bumps out of {options.size:,} mixtures of {POINTS} points")
top, bottom = figure.subfigures(2, 1, height_ratios=[1.3, 1])
given, recovered, error = top.subplots(1, 3)
for shift, mixture in enumerate(V.T[:5]):
    given.plot(points, mixture / mixture.max() - 1.1 * shift, color=BLACK, linewidth=0.7)
tidy(given, "given: 5 of the mixtures", "point")
given.set_yticks([])
for bump, column, colour in zip(bumps.T, step.W.T[order], COLOURS, strict=False):
    recovered.plot(points, bump, color="0.8", linewidth=5)
    recovered.plot(points, column / column.max(), color=colour, linewidth=1.5)
tidy(recovered, "found, and the truth (grey)", "point", "height, largest = 1")
for (name, curve), colour, mark in zip(curves.items(), (BLACK, *COLOURS), " .D", strict=False):
    error.plot(curve.keys(), curve.values(), color=colour, marker=mark, label=name)
error.set(xscale="log", yscale="log", yticks=(ticks := [0.02, 0.05, 0.1, 0.2, 0.5]), yticklabels=ticks)
error.minorticks_off()
tidy(error, "the loss", "pass over the mixtures", "relative error")
error.legend(fontsize=8, frameon=False)
bottom.suptitle("The bases of the multiplicative updates as they emerge", fontsize=10)
for axes, (moment, W) in zip(bottom.subplots(1, len(MOMENTS), sharey=True), snapshots.items(), strict=True):
    for column, colour in zip((W / W.max(axis=0)).T[W.argmax(axis=0).argsort()], COLOURS, strict=False):
        axes.plot(points, column, color=colour, linewidth=1.2)
    tidy(axes, f"pass {moment}", "point")
    axes.set_yticks([])
save(figure, options.out / "bumps.png")
