"""What holds for all tests."""

import pytest

from dnmf.storage import retries


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Let no time pass between two tries to read; return the seconds that would have."""
    waited = []
    monkeypatch.setattr(retries, "wait", waited.append)
    return waited
