"""The command `dnmf`."""
