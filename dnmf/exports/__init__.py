"""Factors as tables and as AnnData."""
