"""Preprocessing steps, and the moments that they are fitted to."""
