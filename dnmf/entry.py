"""Set up the process of the command `dnmf` before any other import."""

import itertools
import os
import signal
import sys


def is_command() -> bool:
    """Return whether this process was started by `dnmf` or by `python -m dnmf`."""
    if sys.argv[:1] == ["-m"]:  # Python has not found the module yet
        words = sys.orig_argv
        return "-mdnmf" in words or ("-m", "dnmf") in itertools.pairwise(words)
    return bool(sys.argv) and os.path.basename(sys.argv[0]).removesuffix(".exe") == "dnmf"


def prepare() -> None:
    """Exit quietly on Ctrl-C, and reserve the file descriptors of closed standard streams."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def imported() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, once everything is imported."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(number: int, frame: object) -> None:
    os._exit(128 + number)  # an exception would be raised within the import of some package


if is_command():
    prepare()
