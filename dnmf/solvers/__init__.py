"""The iteration over passes, and the methods that run in it."""
