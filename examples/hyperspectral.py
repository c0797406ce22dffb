"""Materials of a scene seen from the air, and their maps, from the spectra of its pixels.

    python examples/hyperspectral.py [--out FOLDER] [--size SIDE]

A simulated scene of 96 × 96 pixels in 120 bands mixes four materials under uneven light; no pixel has more than 80 % of
one. At 1.4 and 1.9 µm, where water vapour absorbs the light, the sensor records mostly noise; so every band is divided
by its noise. Many spectra fit as well as the true ones, and plain factorization returns any of them. The purest pixels,
which `init="spa"` finds, are close, and the spectra of the smallest volume are closest.
"""

import numpy as np
from gallery import BLUE, ORANGE, arguments, draw, save, show_image, tidy
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

import dnmf

NAMES = ("vegetation", "soil", "snow", "roofs")
BANDS = np.linspace(0.4, 2.4, 120)  # µm
PUREST = 0.8


def bell(centre, width):
    """Return a bump over the bands."""
    return np.exp(-0.5 * ((BANDS - centre) / width) ** 2)


def rise(centre, width):
    """Return a step up over the bands."""
    return 1 / (1 + np.exp(-(BANDS - centre) / width))


def angles(W):
    """Return the angle in degrees between each true spectrum and each column of W."""
    cosines = (spectra / np.linalg.norm(spectra, axis=0)).T @ (W / np.linalg.norm(W, axis=0))
    return np.degrees(np.arccos(np.minimum(cosines, 1)))


def shares(H):
    """Return the shares of the materials in each pixel, in the scale in which they add up to 1 best."""
    scaled = H * np.abs(np.linalg.lstsq(H.T, np.ones(H.shape[1]))[0])[:, None]
    return scaled / scaled.sum(axis=0)


options = arguments(__doc__, size=96, unit="pixels along a side of the scene")
rng = np.random.default_rng(4)
spectra = np.column_stack(
    [
        0.04 + 0.08 * bell(0.55, 0.04) + rise(0.72, 0.015) * (0.45 - 0.27 * rise(1.4, 0.06)) - 0.1 * bell(1.95, 0.08),
        0.08 + 0.35 * rise(0.9, 0.3) - 0.12 * bell(2.2, 0.05),
        0.75 * (1 - rise(1.25, 0.08)) + 0.06 + 0.12 * bell(1.8, 0.08),
        0.30 - 0.1 * rise(1.0, 0.1) + 0.15 * bell(0.62, 0.08) + 0.2 * bell(1.7, 0.12),
    ]
)
fields = [gaussian_filter(rng.standard_normal((options.size, options.size)), 7, mode="wrap").ravel() for _ in NAMES]
heights = np.exp(3.5 * np.array([field / field.std() for field in fields]))
abundances = heights / heights.sum(axis=0)  # (4, pixels), with sum 1
most = abundances.max(axis=0)
pure = most > PUREST
abundances[:, pure] *= np.where(abundances == most, PUREST / most, (1 - PUREST) / (1 - most))[:, pure]
light = 1 + 0.3 * rng.standard_normal(options.size**2).clip(-2, 2)
noise = 0.004 + 0.1 * (bell(1.4, 0.05) + bell(1.9, 0.06))
V = spectra @ abundances * light
V = np.maximum(V + noise[:, None] * rng.standard_normal(V.shape), 0).astype("float32")
sharp = (noise.min() / noise)[:, None].astype("float32")  # scales every band to the same noise

runs = {"plain": {}, "purest pixels": {"init": "spa", "max_passes": 2}, "smallest volume": {"volume_W": 0.2}}
found, degrees, errors = {}, {}, {}
for name, choice in runs.items():
    W, H = dnmf.factorize(sharp * V, len(NAMES), **choice)
    W = W / sharp
    order = linear_sum_assignment(angles(W))[1]
    found[name] = W[:, order], shares(H[order])
    degrees[name] = angles(W)[range(len(NAMES)), order]
    errors[name] = np.sqrt(((found[name][1] - abundances) ** 2).mean())
    off = ", ".join(f"{material} {angle:.1f}°" for material, angle in zip(NAMES, degrees[name], strict=True))
    print(f"{name:15} is off by {off}; shares by {errors[name]:.3f}")

figure = draw(9, 7.5, "Four materials in a scene without a pure pixel, and their spectra")
shown = {"true": abundances, "plain": found["plain"][1], "smallest volume": found["smallest volume"][1]}
for column, (name, panels) in enumerate(zip(NAMES, figure.subplots(4, 4).T, strict=True)):
    for axes, (kind, maps) in zip(panels[:3], shown.items(), strict=True):
        picture = maps[column].reshape(options.size, options.size)
        drawn = show_image(axes, picture, f"{name}: {kind}", cmap="cividis", vmin=0, vmax=1)
    for kind, colour in (("plain", ORANGE), ("smallest volume", BLUE)):
        w = found[kind][0][:, column]
        panels[3].plot(BANDS, w * (spectra[:, column] @ w) / (w @ w), color=colour, label=kind)
    panels[3].plot(BANDS, spectra[:, column], color="black", linestyle=":", label="true")
    off = f"plain off by {degrees['plain'][column]:.1f}°\nvolume by {degrees['smallest volume'][column]:.1f}°"
    tidy(panels[3], off, "µm", "" if column else "reflectance")
figure.legend(*panels[3].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
figure.colorbar(drawn, ax=figure.axes[:12], shrink=0.5, label="share of the pixel")
save(figure, options.out / "hyperspectral.png", colours=96)
