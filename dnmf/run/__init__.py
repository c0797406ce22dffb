"""Open a run, iterate, save, resume, and return the result."""
