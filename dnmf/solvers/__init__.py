"""The iteration over passes, its methods, and its initialisations."""
