"""β-divergences: multiplicative updates and second-order steps."""
