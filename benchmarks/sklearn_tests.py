"""Run scikit-learn's own tests of NMF with dnmf's classes in place of its own.

    python benchmarks/sklearn_tests.py [-k EXPRESSION] [other options of pytest]

The tests are those of the installed scikit-learn, not copies. Their module is imported unchanged, and the three names
under test are replaced in it.
"""

import importlib
import sys

import pytest

import dnmf

MODULE = "sklearn.decomposition.tests.test_nmf"
NAMES = ("NMF", "MiniBatchNMF", "non_negative_factorization")


class Substitute:
    """Replace the classes in scikit-learn by those of dnmf before the tests are collected."""

    def __init__(self) -> None:
        self.theirs = importlib.import_module("sklearn.decomposition")

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        for name in NAMES:
            setattr(self.theirs, name, getattr(dnmf, name))


if __name__ == "__main__":
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "-c", "/dev/null", "--tb=line", "-rf"]
    sys.exit(pytest.main([*options, "--pyargs", MODULE, *sys.argv[1:]], plugins=[Substitute()]))
