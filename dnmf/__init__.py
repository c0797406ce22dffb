"""Non-negative matrix factorization of matrices that do not fit into memory.

V (m, n) ≈ W (m, r) · H (r, n), all non-negative. V is read block by block, once per pass, within a memory limit. A run
can be killed at any time and resumed with the same bits.
"""

from dnmf.cli import entry  # noqa: F401 - before slow imports, so that Ctrl-C can end the command

# isort: split
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from dnmf import preprocessing
from dnmf.api import factorize, iterate, load, plan, resume, transform
from dnmf.engine.plan import Plan
from dnmf.errors import DnmfError
from dnmf.exports.anndata import write_anndata
from dnmf.exports.factors import export
from dnmf.report import write_report
from dnmf.run.result import Result
from dnmf.run.watcher import Watcher
from dnmf.settings import Settings
from dnmf.solvers.history import Record
from dnmf.survey.api import load_survey, select_rank

if TYPE_CHECKING:
    from dnmf.estimator import NMF, MiniBatchNMF, non_negative_factorization

__version__ = version("dnmf")

__all__ = [
    "NMF",
    "DnmfError",
    "MiniBatchNMF",
    "Plan",
    "Record",
    "Result",
    "Settings",
    "Watcher",
    "__version__",
    "export",
    "factorize",
    "iterate",
    "load",
    "load_survey",
    "non_negative_factorization",
    "plan",
    "preprocessing",
    "resume",
    "select_rank",
    "transform",
    "write_anndata",
    "write_report",
]

# Imported on first use, since scikit-learn takes a second.
_ESTIMATORS = ("NMF", "MiniBatchNMF", "non_negative_factorization")


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        return getattr(import_module("dnmf.estimator"), name)
    raise AttributeError(f"module 'dnmf' has no attribute {name!r}.")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ESTIMATORS])
