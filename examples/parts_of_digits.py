"""Handwritten digits as sums of parts, compared with PCA and k-means; a run is watched, and stopped by the caller.

    python examples/parts_of_digits.py [--out FOLDER]

The 1797 images of 8 × 8 pixels come with scikit-learn. The 16 components of dnmf are strokes, which can only be
added; those of k-means are whole digits, one for each image; and those of PCA are patterns that are added and
subtracted (purple and orange). New digits are then rebuilt from the components.
"""

import numpy as np
from gallery import arguments, draw, save, show_image
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import dnmf

RANK, SEEN, SHAPE = 16, 1500, (8, 8)

options = arguments(__doc__)
digits = load_digits().data.T.astype("uint8")  # 64 pixels × 1797 images: one image per column
seen, unseen = digits[:, :SEEN], digits[:, SEEN:].astype(float)

for result in dnmf.iterate(seen, RANK, seed=1, max_passes=60):
    record = result.history[-1]
    if record.passes % 5 == 0:
        print(f"pass {record.passes}: relative error {record.relative_error:.4f}, optimality {record.optimality:.1e}")
    if record.optimality < 1e-3:
        break

H = dnmf.transform(result, unseen)
pca = PCA(RANK, svd_solver="full").fit(seen.T)
means = KMeans(RANK, random_state=1, n_init=3).fit(seen.T.astype(float))
rebuilt = {
    "dnmf": result.W @ H,
    "PCA": pca.inverse_transform(pca.transform(unseen.T)).T,
    "k-means": means.cluster_centers_[means.predict(unseen.T)].T,
}
errors = {name: np.linalg.norm(unseen - images) / np.linalg.norm(unseen) for name, images in rebuilt.items()}
for name, error in errors.items():
    print(f"{name:8} rebuilds new digits to a relative error of {error:.3f}")
used = (H > 0.1 * H.max(axis=0)).sum(axis=0).mean()  # noqa: SIM300
print(f"a digit uses {used:.1f} of the {RANK} parts on average")

figure = draw(9, 6, f"{RANK} parts of handwritten digits, and digits rebuilt from them")
above, below = figure.subfigures(2, 1, height_ratios=[1.25, 1])
components = {"dnmf": result.W, "PCA": pca.components_.T, "k-means": means.cluster_centers_.T}
for part, (name, W) in zip(above.subfigures(1, 3), components.items(), strict=True):
    part.suptitle({"dnmf": "dnmf: strokes", "PCA": "PCA: plus and minus", "k-means": "k-means: whole digits"}[name])
    for axes, column in zip(part.subplots(4, 4).ravel(), W.T, strict=True):
        reach = abs(column).max()
        signed = {"cmap": "PuOr", "vmin": -reach, "vmax": reach}
        show_image(axes, column.reshape(SHAPE), **signed if name == "PCA" else {"cmap": "gray_r"})
pictures = {"unseen": unseen, **rebuilt}
for row, (name, images) in zip(below.subplots(len(pictures), 14), pictures.items(), strict=True):
    for axes, image in zip(row, images.T, strict=False):
        show_image(axes, image.reshape(SHAPE), cmap="gray_r", vmin=0, vmax=16)
    row[0].set_ylabel(
        name if name == "unseen" else f"{name}\nerror {errors[name]:.2f}", fontsize=9, rotation=0, labelpad=30
    )
save(figure, options.out / "parts_of_digits.png", colours=256)
