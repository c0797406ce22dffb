"""Find the gene programmes of cells in a file: normalise, factorise and write back, block by block.

    python examples/cells.py [--out FOLDER] [--size CELLS]

Needs `pip install 'dnmf[anndata,plot]'`, and anndata 0.12 or newer. The cells are simulated; `scanpy_users.md`
explains the steps one by one.
"""

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.experimental import read_elem_lazy
from anndata.io import read_elem, sparse_dataset, write_elem
from gallery import arguments, draw, save

import dnmf

# The planted programmes, each with the genes that it raises: five kinds of cells, and two states of any kind.
KINDS = {
    "T cell": "CD3D CD3E CD3G TRAC IL7R CD2 LTB CD27 TCF7 LEF1",
    "B cell": "MS4A1 CD79A CD79B CD19 BANK1 CD22 PAX5 TCL1A VPREB3 IGHM",
    "NK cell": "NKG7 GNLY KLRD1 KLRF1 PRF1 GZMB NCAM1 FGFBP2 SPON2 XCL1",
    "monocyte": "LYZ S100A8 S100A9 CD14 VCAN FCN1 CTSS MNDA CSF3R FPR1",
    "platelet": "PPBP PF4 GP9 ITGA2B TUBB1 GNG11 SDPR CLU TREML1 MPIG6B",
}
STATES = {
    "cycling": "MKI67 TOP2A CDK1 CCNB1 TYMS PCNA BIRC5 UBE2C CENPF NUSAP1",
    "stressed": "FOS JUN EGR1 ATF3 HSPA1A HSPA1B DNAJB1 IER2 DUSP1 KLF6",
}
PROGRAMMES = KINDS | STATES
GENES = 800
BLOCK = 500


def write_cells(path, cells=3000, seed=0):
    """Write negative binomial counts of `cells` cells as an `.h5ad` file, one block of cells at a time."""
    rng = np.random.default_rng(seed)
    planted = " ".join(PROGRAMMES.values()).split()
    genes = planted + [f"GENE{number:03d}" for number in range(GENES - len(planted))]
    housekeeping = rng.gamma(0.5, 1.0, GENES)
    raised = np.zeros((len(PROGRAMMES), GENES))
    for programme, names in enumerate(PROGRAMMES.values()):
        raised[programme, [genes.index(name) for name in names.split()]] = rng.uniform(8, 25, 10)

    kinds, states = [], []
    for start in range(0, cells, BLOCK):
        count = min(BLOCK, cells - start)
        kind = rng.choice(len(KINDS), count, p=[0.35, 0.2, 0.15, 0.25, 0.05])
        state = rng.random((count, len(STATES))) < 0.2
        use = np.hstack([np.eye(len(KINDS))[kind], state]) * rng.gamma(4, 0.25, (count, len(PROGRAMMES)))
        mean = housekeeping + use @ raised
        mean *= rng.lognormal(7.3, 0.4, (count, 1)) / mean.sum(axis=1, keepdims=True)
        counts = sp.csr_matrix(rng.poisson(rng.gamma(2.0, mean / 2.0)).astype(np.float32))
        if start == 0:
            anndata.AnnData(counts, var=pd.DataFrame(index=genes)).write_h5ad(path)
        else:
            with h5py.File(path, "r+") as file:
                sparse_dataset(file["X"]).append(counts)
        kinds += [list(KINDS)[number] for number in kind]
        states += [" and ".join(np.array(list(STATES))[row]) or "none" for row in state]
    obs = pd.DataFrame({"kind": kinds, "state": states}, index=[f"cell_{number}" for number in range(cells)])
    with h5py.File(path, "r+") as file:
        write_elem(file, "obs", obs.astype("category"))


def normalise(counts):
    """Scale the cells of a CSR block to 10,000 counts each and take log(1 + x); zeros are not stored."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    scaled = sp.csr_matrix(counts.multiply(1e4 / np.maximum(totals, 1)[:, None]), dtype=np.float32)
    return scaled.log1p()


def open_lazily(path):
    """Return the AnnData of a file with an X that is read lazily, block by block."""
    with h5py.File(path) as file:
        X = read_elem_lazy(file["X"], chunks=(BLOCK, file["X"].attrs["shape"][1]))
        return anndata.AnnData(X, obs=read_elem(file["obs"]), var=read_elem(file["var"]))


def draw_programmes(adata, result, path):
    """Draw the use of each component by the cells, and its genes."""
    kinds = adata.obs["kind"].to_numpy()
    cells = np.lexsort([adata.obs["state"], kinds])
    use = (adata.obsm["X_nmf"] / adata.obsm["X_nmf"].max(axis=0))[cells]
    order = np.argsort(np.arange(len(cells)) @ use / use.sum(axis=0))  # by the cells that use them
    components = result.components(5)
    genes = list(dict.fromkeys(name for k in order for name, _ in components[k].top))
    made_of = (adata.varm["NMF"] / adata.varm["NMF"].max(axis=0))[adata.var_names.get_indexer(genes)]

    figure = draw(10, 7.5, f"{len(order)} programmes of genes in {len(cells):,} cells")
    left, right = figure.subplots(1, 2)
    left.imshow(use[:, order], aspect="auto", cmap="magma", interpolation="nearest")
    drawn = right.imshow(made_of[:, order], aspect="auto", cmap="magma")
    names, starts = np.unique(kinds[cells], return_index=True)
    left.set_yticks((starts + np.append(starts[1:], len(cells))) / 2, names)
    left.hlines(starts[1:] - 0.5, -0.5, len(order) - 0.5, color="white", linewidth=0.8)
    right.set_yticks(range(len(genes)), genes, fontsize=8)
    for axes, title in (
        (left, "W: how much each cell uses each component"),
        (right, "H: the weight of each gene in each component"),
    ):
        labels = [f"{components[k].name}\n{100 * components[k].share:.0f} %" for k in order]
        axes.set_xticks(range(len(order)), labels, fontsize=8)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("component, and its share of WH", fontsize=9)
    figure.colorbar(drawn, ax=[left, right], shrink=0.5, label="part of the largest value of the component")
    save(figure, path)


def main():
    """Simulate the cells, and find their programmes."""
    options = arguments(__doc__, 3000, "cells")
    path, normalised, picture = (options.out / name for name in ("cells.h5ad", "normalised.h5ad", "cells.png"))
    write_cells(path, options.size)
    adata = open_lazily(path)
    adata.X = adata.X.map_blocks(normalise, dtype=np.float32)
    adata.write_h5ad(normalised)
    result = dnmf.factorize(normalised, rank=len(PROGRAMMES) + 1, memory_limit="1GB")
    print(f"{result.passes} passes, relative error {result.relative_error:.4f}")
    for component in result.components(6):
        print(f"{component.name} {100 * component.share:4.1f} %  {', '.join(name for name, _ in component.top)}")

    adata = anndata.read_h5ad(path, backed="r+")
    dnmf.write_anndata(adata, result)
    adata.write_h5ad()
    draw_programmes(adata, result, picture)
    adata.file.close()
    print(f"the components are in {path} and shown in {picture}")


if __name__ == "__main__":
    main()
