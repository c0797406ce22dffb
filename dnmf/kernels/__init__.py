"""The mathematics: pure functions on one block, on NumPy, SciPy and Numba alone."""
