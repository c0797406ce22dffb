"""Materials of a scene seen from the air, and their maps, from the spectra of its pixels.

    python examples/hyperspectral.py [--out FOLDER] [--size SIDE]

A simulated scene of 96 × 96 pixels in 120 bands mixes four materials. At 1.4 and 1.9 µm, where water vapour absorbs
the light, the sensor records mostly noise. The run starts at the four purest pixels. The noise bends the spectra that
are found, unless each band has its inverse variance as its weight.
"""

import numpy as np
from gallery import BLUE, ORANGE, arguments, draw, save, show_image, tidy
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

import dnmf

NAMES = ("vegetation", "soil", "snow", "roofs")
BANDS = np.linspace(0.4, 2.4, 120)  # µm


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


def purest(V):
    """Return the most extreme pixels, found by successive projections (Araújo et al. 2001)."""
    rest, chosen = V.astype(float), []
    for _ in NAMES:
        chosen.append(int((rest**2).sum(axis=0).argmax()))
        way = rest[:, chosen[-1]] / np.linalg.norm(rest[:, chosen[-1]])
        rest -= np.outer(way, way @ rest)
    return chosen


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
noise = 0.004 + 0.1 * (bell(1.4, 0.05) + bell(1.9, 0.06))
scene = spectra @ abundances
V = np.maximum(scene + noise[:, None] * rng.standard_normal(scene.shape), 0).astype("float32")

weights = np.broadcast_to((noise.min() / noise[:, None]) ** 2, V.shape).astype("float32")
sharp = np.sqrt(weights)  # scales every band to the same noise
start = V[:, purest(sharp * V)] + np.float32(1e-4)
shares = np.maximum(np.linalg.lstsq(sharp[:, :1] * start, sharp * V)[0], 1e-3)
choices = {"plain": {}, "weighted": {"weights": weights}}
found = {"purest pixel": (start, shares)}
for name, choice in choices.items():
    result = dnmf.factorize(V, len(NAMES), init=(start, shares), max_passes=30, **choice)
    found[name] = tuple(result)
degrees = {}
for name, (W, H) in found.items():
    order = linear_sum_assignment(angles(W))[1]
    found[name] = W[:, order], H[order]
    degrees[name] = angles(W)[range(len(NAMES)), order]
    print(f"{name:12} is off by", ", ".join(f"{n} {a:.1f}°" for n, a in zip(NAMES, degrees[name], strict=True)))
H = found["weighted"][1]
scales = np.linalg.lstsq(H.T, np.ones(H.shape[1]))[0]  # so that the shares of a pixel add up to 1
maps = H * scales[:, None]
print(f"root mean square error of the shares: {np.sqrt(((maps - abundances) ** 2).mean()):.3f}")

figure = draw(9, 6, "Four materials in a scene of mixed pixels, and their spectra")
for column, (name, panels) in enumerate(zip(NAMES, figure.subplots(3, 4).T, strict=True)):
    for axes, image, title in zip(panels[:2], (abundances, maps), (f"{name}: true", "found"), strict=True):
        picture = image[column].reshape(options.size, options.size)
        drawn = show_image(axes, picture, title, cmap="cividis", vmin=0, vmax=1)
    for kind, colour in (("plain", ORANGE), ("weighted", BLUE)):
        w = found[kind][0][:, column]
        panels[2].plot(BANDS, w * (spectra[:, column] @ w) / (w @ w), color=colour, label=kind)
    panels[2].plot(BANDS, spectra[:, column], color="black", linestyle=":", label="true")
    off = "\n".join(f"{kind} off by {degrees[kind][column]:.1f}°" for kind in choices)
    tidy(panels[2], off, "µm", "" if column else "reflectance")
figure.legend(*panels[2].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
figure.colorbar(drawn, ax=figure.axes[:8], shrink=0.6, label="share of the pixel")
save(figure, options.out / "hyperspectral.png", colours=128)
