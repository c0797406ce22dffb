"""Processes that a test starts on this machine, and ends whatever becomes of them."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from runs import until

MARK = "DNMF_TEST_DAEMONS"


def free_port():
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def at_times(condition, seconds=0.2):
    """Return a condition to ask `until` for where each look costs a process: it lets so much time go by before."""

    def look():
        threading.Event().wait(seconds)
        return condition()

    return look


class Daemons:
    """Processes with one mark in their environment, which what they start inherits; all with it end with this.

    Parameters
    ----------
    folder
        Where their logs go; the mark is its name.
    """

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = {**os.environ, MARK: str(folder), **environment}
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in reversed(self.started):
            process.terminate()
        until(at_times(lambda: all(process.poll() is not None for process in self.started)), 3)
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.wait()
        assert until(at_times(lambda: not self.left()), 10), f"Processes outlived their test: {self.left()}"

    def start(self, *command, **options):
        """Start a process; its output goes to a file named after it."""
        name = f"{len(self.started)}-{Path(command[0]).name}.log"
        with open(self.folder / name, "wb") as log:
            self.started.append(
                subprocess.Popen(
                    command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
                )
            )
        return self.started[-1]

    def run(self, *command, **options):
        """Run a command to its end; return what it wrote on stdout."""
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **options)
        assert ended.returncode == 0, f"{command} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def logs(self):
        """Return what the processes said."""
        return "\n".join(f"{path.name}\n{path.read_text(errors='replace')}" for path in self.folder.glob("*.log"))

    def left(self):
        """Return the processes with the mark that are alive."""
        mark = f"{MARK}={self.folder}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended, or is somebody else's
                pass
        return found
