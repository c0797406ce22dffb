"""A pass on a Dask cluster."""
