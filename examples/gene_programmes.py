"""Genes that act together, and the cells in which they do: programmes in simulated counts of single cells.

    python examples/gene_programmes.py [--out FOLDER] [--size CELLS]

Every cell has one of five types, each with its own programme of 40 genes; nearly a third of the cells also divide, by
a sixth programme that all types share. Three counts in four are 0, hence the Kullback–Leibler loss. In a dividing
cell dnmf finds both programmes, while k-means assigns it to another type.
"""

import numpy as np
import scipy.sparse as sp
from gallery import BLACK, BLUE, GREEN, ORANGE, PINK, YELLOW, arguments, draw, save, show_image, tidy
from matplotlib.colors import ListedColormap
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import dnmf

GENES, TYPES, MARKERS, FOLD, DISPERSION = 1000, 5, 40, 3, 2.0
NAMES = [*(f"type {name}" for name in "ABCDE"), "division"]
SHADES, SHOWN = (BLUE, ORANGE, GREEN, PINK, YELLOW, BLACK), 20


def matched(label):
    """Return for every cell the type that matches its cluster best."""
    common = np.array([np.bincount(label[types == k], minlength=TYPES) for k in range(TYPES)])
    return linear_sum_assignment(-common.T)[1][label]


options = arguments(__doc__, size=1500, unit="cells")
cells = options.size
rng = np.random.default_rng(0)
programmes = np.repeat(rng.gamma(0.5, 1.0, GENES)[:, None], TYPES + 1, axis=1)
for k in range(TYPES + 1):
    own = slice(MARKERS * k, MARKERS * (k + 1))
    programmes[own, k] = FOLD * (programmes[own, k] + 0.3)
programmes /= programmes.sum(axis=0)
types = np.sort(rng.choice(TYPES, cells, p=[0.35, 0.25, 0.2, 0.12, 0.08]))
division = np.where(rng.random(cells) < 0.3, rng.uniform(0.3, 0.7, cells), 0)
amounts = np.vstack([(1 - division) * (types == k) for k in range(TYPES)] + [division])
means = programmes @ amounts * rng.lognormal(6.2, 0.5, cells)  # about 500 molecules of each cell are counted
counts = rng.negative_binomial(DISPERSION, DISPERSION / (DISPERSION + means)).astype("float32")
print(f"{GENES} genes in {cells:,} cells, {(counts == 0).mean():.0%} of the counts are 0")

result = dnmf.factorize(sp.csc_array(counts), TYPES + 1, loss="kullback-leibler", seed=0, max_passes=50)
W, H = result.W, result.usage("columns").T  # H: the share of each programme in a cell
likeness = np.corrcoef(W.T, programmes.T)[: TYPES + 1, TYPES + 1 :]
order = linear_sum_assignment(-likeness.T)[1]
W, H, likeness = W[:, order], H[order], np.diag(likeness[order])
print("correlation with the planted programmes:", " ".join(f"{value:.3f}" for value in likeness))
logs = np.log1p(counts / counts.sum(axis=0) * np.median(counts.sum(axis=0)))
labels = {"dnmf": H[:TYPES].argmax(axis=0), "k-means": KMeans(TYPES, n_init=5, random_state=0).fit_predict(logs.T)}
agreement = {name: adjusted_rand_score(types, label) for name, label in labels.items()}
for name, value in agreement.items():
    print(f"{name:8} adjusted Rand index with the true types: {value:.3f}")

cells_in_order = np.lexsort((division, types))
specific = result.top(SHOWN, "rows", by="specificity")  # high in this programme and low in the others
chosen = np.array([gene for k in order for gene, _ in specific[k]])
figure = draw(9, 7, f"Programmes of genes in {cells:,} simulated cells, sorted by type and by share of division")
heat, shares, strips = figure.subplots(3, 1, height_ratios=[2.4, 1.2, 0.6])
levels = gaussian_filter1d(logs[np.ix_(chosen, cells_in_order)], cells / 200, axis=1)
levels = (levels - levels.min(axis=1, keepdims=True)) / np.ptp(levels, axis=1, keepdims=True)
look = {"aspect": "auto", "interpolation": "nearest"}
drawn = show_image(heat, levels, f"the {SHOWN} most specific genes of each programme", cmap="cividis", **look)
heat.set_yticks(np.arange(SHOWN / 2, len(chosen), SHOWN), labels=NAMES, fontsize=8)
bar = figure.colorbar(drawn, ax=[heat, shares, strips], shrink=0.4, anchor=(0, 0.95), ticks=[0, 1])
bar.set_label("log(1 + count), smoothed,\nscaled for each gene", fontsize=8)
shares.stackplot(range(cells), H[:, cells_in_order], colors=SHADES, labels=NAMES)
shares.set(xlim=(0, cells), ylim=(0, 1))
tidy(shares, "programmes of each cell", "", "share")
shares.set_xticks([])
rows = [types, *(matched(label) for label in labels.values())]
show_image(strips, np.array(rows)[:, cells_in_order], "types", cmap=ListedColormap(SHADES), vmax=TYPES, **look)
strips.set_yticks(range(3), labels=["truth", *(f"{name} {value:.2f}" for name, value in agreement.items())], fontsize=8)
strips.set_xlabel("cells; the number is the adjusted Rand index with the truth", fontsize=9)
figure.legend(loc="outside lower center", ncols=len(NAMES), fontsize=8, frameon=False)
save(figure, options.out / "gene_programmes.png", colours=96)
