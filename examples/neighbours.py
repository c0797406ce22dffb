"""Six programmes on a grid of 100 × 100 spots with 60 counts each: without and with the graph of neighbouring spots.

    python examples/neighbours.py [--out FOLDER] [--size SIDE]

Every spot expresses six programmes of 200 genes, each of which varies smoothly over the grid, as in spatial
transcriptomics. Only 60 molecules are counted in a spot, so that most counts are 0 and the maps are noisy. With the
graph that joins every spot to its four neighbours, the maps are those of the truth, after as few reads of the counts.
"""

import numpy as np
import scipy.sparse
from gallery import arguments, draw, save, show_image
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

import dnmf

GENES, PROGRAMMES, COUNTS, WEIGHTS = 200, 6, 60, (0.0, 1.0, 4.0, 10.0)

options = arguments(__doc__, size=100, unit="spots on a side of the grid")
side = options.size
rng = np.random.default_rng(0)
fields = np.stack([gaussian_filter(rng.standard_normal((side, side)), 0.08 * side) for _ in range(PROGRAMMES)])
truth = np.exp(1.2 * fields / fields.std(axis=(1, 2), keepdims=True)).reshape(PROGRAMMES, -1)
truth *= COUNTS / truth.sum(axis=0)
genes = rng.gamma(0.1, size=(GENES, PROGRAMMES))
V = scipy.sparse.csc_array(rng.poisson(genes / genes.sum(axis=0) @ truth).astype("float32"))
print(f"{V.shape[0]} genes × {V.shape[1]} spots, {1 - V.nnz / np.prod(V.shape):.0%} of the counts are 0")

maps, correlations = {}, {}
for weight in WEIGHTS:
    graph = dnmf.graphs.grid((side, side))
    result = dnmf.factorize(V, PROGRAMMES, graph_H=graph, graph_weight=weight, solver="sketch", max_passes=4)
    H = np.asarray(result.H)
    found = np.nan_to_num(np.corrcoef(truth, H)[:PROGRAMMES, PROGRAMMES:])
    _, order = linear_sum_assignment(-found)
    maps[weight], correlations[weight] = H[order], found[np.arange(PROGRAMMES), order].mean()
    print(f"weight {weight:4g}: correlation with the truth {correlations[weight]:.3f} after {result.passes} reads")

shown = {"the truth": truth, f"no graph: {correlations[0]:.3f}": maps[0]}
shown[f"weight {WEIGHTS[-1]:g}: {correlations[WEIGHTS[-1]]:.3f}"] = maps[WEIGHTS[-1]]
figure = draw(8.4, 4.6, f"Six programmes on {side} × {side} spots, and the correlation with the truth")
for name, row, factor in zip(shown, figure.subplots(3, PROGRAMMES), shown.values(), strict=True):
    for axes, component in zip(row, factor, strict=True):
        show_image(axes, component.reshape(side, side), vmax=np.quantile(component, 0.995), cmap="viridis")
    row[0].set_ylabel(name, fontsize=9)
save(figure, options.out / "neighbours.png", colours=20)
