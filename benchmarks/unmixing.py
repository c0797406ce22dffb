"""Unmixing of the spectra of mixed pixels: angles to the true spectra, errors of the abundances, reads and seconds.

    python benchmarks/unmixing.py [SCENE] [--side 64] [--weights 0.1 0.2 0.5 1.0]

SCENE is an .npz file with V (bands, pixels), the true spectra M (bands, k) and the true abundances A (k, pixels); by
default a simulated scene of four materials in which no pixel is purer than 85 %, under uneven light. Every model is
fitted to the pixels as they are, and to the pixels divided by their sums, which removes the light. Abundances are those
of spectra that sum to 1, divided by their sum in the pixel, unless the model makes them sum to 1. Then the solvers of
the plain model are compared from one start: passes until 10, 1 and 0.1 % of what the best of them gains are left.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

import dnmf

SOLVERS, PASSES = ("pg", "hals", "als"), 200
BANDS = np.linspace(0.4, 2.4, 120)  # µm


def bell(centre: float, width: float) -> np.ndarray:
    """Return a bump over the bands."""
    return np.exp(-0.5 * ((BANDS - centre) / width) ** 2)


def simulated(side: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return V, the spectra and the abundances of a scene of mixed pixels."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.4, 2.4, (4, 5))
    spectra = np.stack(
        [0.1 + sum(rng.uniform(0, 0.4) * bell(c, rng.uniform(0.1, 0.5)) for c in own) for own in centres]
    )
    fields = np.stack([gaussian_filter(rng.standard_normal((side, side)), 0.08 * side, mode="wrap") for _ in spectra])
    heights = np.exp(3 * fields / fields.std(axis=(1, 2), keepdims=True)).reshape(len(spectra), -1)
    abundances = heights / heights.sum(axis=0)
    abundances = abundances[:, abundances.max(axis=0) < 0.85]
    light = rng.uniform(0.6, 1.4, abundances.shape[1])
    V = spectra.T @ abundances * light
    V = np.maximum(V + 0.005 * rng.standard_normal(V.shape), 0)
    return V.astype("float32"), spectra.T, abundances


def scene(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return V, the spectra and the abundances in a file."""
    with np.load(path) as file:
        V, M, A = (np.asarray(file[name], dtype="float32") for name in ("V", "M", "A"))
    return V / V.max(), M, A


def quality(result: Any, M: np.ndarray, A: np.ndarray) -> tuple[float, float]:
    """Return the mean angle of the spectra in radians, and the root mean square error of the abundances."""
    W, H = (np.asarray(factor, dtype=float) for factor in result)
    cosines = (M / np.linalg.norm(M, axis=0)).T @ (W / np.linalg.norm(W, axis=0))
    angles = np.arccos(np.clip(cosines, -1, 1))
    true, found = linear_sum_assignment(angles)
    if result.settings.columns_H == "free":
        H = H * W.sum(axis=0)[:, None]
        H /= np.maximum(H.sum(axis=0), 1e-12)
    H = H[found]
    return float(angles[true, found].mean()), float(np.sqrt(((H - A[true]) ** 2).mean()))


def models(weights: list[float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names of the models and their options."""
    yield "plain", {}
    yield "spa alone", {"init": "spa", "max_passes": 2}
    yield "spa, plain", {"init": "spa"}
    yield "simplex", {"init": "spa", "columns_H": "simplex"}
    for weight in weights:
        yield f"volume {weight:g}", {"volume_W": weight}
    for weight in weights:
        yield f"simplex, volume {weight:g}", {"volume_W": weight, "columns_H": "simplex"}


def table(V: np.ndarray, M: np.ndarray, A: np.ndarray, weights: list[float]) -> None:
    """Print a line for every model."""
    for name, options in models(weights):
        start, losses = time.perf_counter(), list[float]()
        watchers = [lambda record, losses=losses: losses.append(record.loss)]
        result = dnmf.factorize(V, M.shape[1], **{"max_passes": 300, **options}, watchers=watchers)
        seconds = time.perf_counter() - start
        angle, error = quality(result, M, A)
        falls = bool((np.diff(losses) <= 2 * np.finfo(V.dtype).eps * float(np.vdot(V, V))).all())
        print(
            f"{name:19}  {angle:9.4f}  {error:16.4f}  {result.relative_error:14.5f}  {result.passes:5d}  "
            f"{seconds:7.2f}  {'yes' if falls else 'NO'}"
        )


def solvers(V: np.ndarray, rank: int) -> None:
    """Print the passes of the solvers from one start."""
    rng = np.random.default_rng(0)
    start = rng.random((len(V), rank)), rng.random((rank, V.shape[1]))
    losses, seconds = {}, {}
    for name in SOLVERS:
        begun, history = time.perf_counter(), list[float]()
        watchers = [lambda record, history=history: history.append(record.loss)]
        options = {"init": start, "max_passes": PASSES, "tol": 0.0, "extrapolate": False}
        dnmf.factorize(V, rank, solver=name, watchers=watchers, **options)
        losses[name], seconds[name] = np.array(history), time.perf_counter() - begun
    best = min(found.min() for found in losses.values())
    first = max(found[0] for found in losses.values())
    for name, found in losses.items():
        below = [np.flatnonzero(found - best <= share * (first - best)) for share in (0.1, 0.01, 0.001)]
        passes = "  ".join(f"{places[0] + 1 if places.size else '–':>6}" for places in below)
        print(f"{name:19}  {passes}  {seconds[name]:7.2f}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", type=Path, help="an .npz file")
    parser.add_argument("--side", type=int, default=64, help="pixels along a side of the simulated scene")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.1, 0.2, 0.5, 1.0], help="weights of the volume")
    options = parser.parse_args()
    print(machine())
    V, M, A = simulated(options.side) if options.scene is None else scene(options.scene)
    dnmf.factorize(V[:, :50], 2, init="spa", max_passes=3)  # compiles the kernels
    for name, pixels in (("as they are", V), ("divided by their sums", V / np.maximum(V.sum(axis=0), 1e-12))):
        print(f"\n{V.shape[0]} bands × {V.shape[1]} pixels, {name}")
        print("model                angle/rad  abundances' RMSE  relative error  reads  seconds  monotone")
        table(pixels, M, A, options.weights)
    print(f"\nsolver                  10 %     1 %   0.1 %  seconds for {PASSES} passes")
    solvers(V, M.shape[1])


if __name__ == "__main__":
    main()
