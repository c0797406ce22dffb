"""What holds for all tests."""

import pytest

from dnmf.checkpoint import patience


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Let no time pass between two tries to read; return the seconds that would have."""
    waited = []
    monkeypatch.setattr(patience, "wait", waited.append)
    return waited
