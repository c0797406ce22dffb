"""What is to be in place before everything else is imported, where this process is the command `dnmf`."""

import itertools
import os
import signal
import sys


def is_command() -> bool:
    """Say whether this process was started by `dnmf` or by `python -m dnmf`."""
    if sys.argv[:1] == ["-m"]:  # the module is not found yet
        words = sys.orig_argv
        return "-mdnmf" in words or ("-m", "dnmf") in itertools.pairwise(words)
    return bool(sys.argv) and os.path.basename(sys.argv[0]).removesuffix(".exe") == "dnmf"


def prepare() -> None:
    """End quietly at Ctrl-C, and let no file take the number of a standard stream that is closed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def imported() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(number: int, frame: object) -> None:
    os._exit(128 + number)  # an exception would end in the import of whichever package is being loaded


if is_command():
    prepare()
