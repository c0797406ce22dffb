"""Values that options of functions and of the command line allow, and defaults that they share."""

from typing import Literal

Axis = Literal["rows", "columns"]
By = Literal["weight", "specificity"]
Compressor = Literal["auto", "none", "zstd", "lz4"]
Format = Literal["csv", "parquet", "h5ad"]
Join = Literal["inner", "outer"]
Preparation = Literal["clip", "log-normalize", "tfidf", "unit-variance"]
Units = Literal["counts", "z-score"]

# The number of neighbours by which the density of components is measured, as a part of the runs, and their largest mean
# distance: the defaults of cNMF.
NEIGHBOURS = 0.3
DENSITY_THRESHOLD = 0.5
