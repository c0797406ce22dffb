"""Non-negative matrix factorization of matrices that have outgrown memory.

V (m, n) ≈ W (m, r) · H (r, n), all non-negative: V is read block by block, once a pass, within a memory limit, and a
run can be killed at any moment and resumed to the same bits.
"""

from importlib.metadata import version

from dnmf import preprocessing
from dnmf.api import factorize, iterate, load, plan, resume, transform
from dnmf.errors import DnmfError
from dnmf.plan import Plan
from dnmf.result import Result
from dnmf.settings import Settings
from dnmf.watch import Record, Watcher

__version__ = version("dnmf")

__all__ = [
    "DnmfError",
    "Plan",
    "Record",
    "Result",
    "Settings",
    "Watcher",
    "__version__",
    "factorize",
    "iterate",
    "load",
    "plan",
    "preprocessing",
    "resume",
    "transform",
]
