"""Least squares: row updates, block pivoting, weights."""
