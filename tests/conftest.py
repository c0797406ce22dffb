"""What holds for all tests."""

import signal

import pytest

from dnmf.storage import retries

# A shell lets its background processes ignore Ctrl-C, which tests send to themselves and to commands.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Let no time pass between two tries to read; return the seconds that would have."""
    waited = []
    monkeypatch.setattr(retries, "wait", waited.append)
    return waited
