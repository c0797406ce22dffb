"""Blocks of V, and the arithmetic that all rules share."""
