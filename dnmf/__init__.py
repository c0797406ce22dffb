"""Non-negative matrix factorization of matrices that do not fit into memory.

V (m, n) ≈ W (m, r) · H (r, n), all non-negative. V is read block by block, once per pass, within a memory limit. A run
can be killed at any time and resumed with the same bits.
"""

from dnmf import entry  # noqa: F401 - before slow imports, so that Ctrl-C can end the command

# isort: split
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnmf import graphs as graphs
    from dnmf import preprocessing as preprocessing
    from dnmf.api import factorize as factorize
    from dnmf.api import iterate as iterate
    from dnmf.api import likelihood as likelihood
    from dnmf.api import load as load
    from dnmf.api import plan as plan
    from dnmf.api import predict as predict
    from dnmf.api import recommend as recommend
    from dnmf.api import resume as resume
    from dnmf.api import spectra as spectra
    from dnmf.api import transform as transform
    from dnmf.conversion import convert as convert
    from dnmf.engine.plan import Plan as Plan
    from dnmf.errors import DnmfError as DnmfError
    from dnmf.estimator import NMF as NMF
    from dnmf.estimator import MiniBatchNMF as MiniBatchNMF
    from dnmf.estimator import non_negative_factorization as non_negative_factorization
    from dnmf.exports.anndata import write_anndata as write_anndata
    from dnmf.exports.factors import export as export
    from dnmf.inspection.components import Component as Component
    from dnmf.report import write_report as write_report
    from dnmf.run.likelihood import Likelihood as Likelihood
    from dnmf.run.result import Result as Result
    from dnmf.run.watcher import Watcher as Watcher
    from dnmf.settings import Settings as Settings
    from dnmf.solvers.history import Record as Record
    from dnmf.sources.concat import concat as concat
    from dnmf.sources.unfold import unfold as unfold
    from dnmf.survey.api import load_survey as load_survey
    from dnmf.survey.api import select_rank as select_rank
    from dnmf.survey.programmes import ConsensusResult as ConsensusResult
    from dnmf.survey.suggest import Suggestion as Suggestion
    from dnmf.survey.table import RankSurvey as RankSurvey
    from dnmf.survey.weights import WeightSurvey as WeightSurvey
    from dnmf.survey.weights import select_graph_weight as select_graph_weight

__version__: str

# The public names, and the modules that they are imported from on their first use.
_HOMES = {
    "dnmf.api": (
        "factorize",
        "iterate",
        "likelihood",
        "load",
        "plan",
        "predict",
        "recommend",
        "resume",
        "spectra",
        "transform",
    ),
    "dnmf.conversion": ("convert",),
    "dnmf.engine.plan": ("Plan",),
    "dnmf.errors": ("DnmfError",),
    "dnmf.estimator": ("NMF", "MiniBatchNMF", "non_negative_factorization"),
    "dnmf.exports.anndata": ("write_anndata",),
    "dnmf.exports.factors": ("export",),
    "dnmf.inspection.components": ("Component",),
    "dnmf.report": ("write_report",),
    "dnmf.run.likelihood": ("Likelihood",),
    "dnmf.run.result": ("Result",),
    "dnmf.run.watcher": ("Watcher",),
    "dnmf.settings": ("Settings",),
    "dnmf.solvers.history": ("Record",),
    "dnmf.sources.concat": ("concat",),
    "dnmf.sources.unfold": ("unfold",),
    "dnmf.survey.api": ("load_survey", "select_rank"),
    "dnmf.survey.programmes": ("ConsensusResult",),
    "dnmf.survey.suggest": ("Suggestion",),
    "dnmf.survey.table": ("RankSurvey",),
    "dnmf.survey.weights": ("WeightSurvey", "select_graph_weight"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(["__version__", "graphs", "preprocessing", *_HOME_OF])


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        found = getattr(import_module(_HOME_OF[name]), name)
        import_module("dnmf.api")  # gives a result its methods
    elif name == "__version__":
        found = import_module("importlib.metadata").version("dnmf")  # slow to import
    else:
        try:
            found = import_module(f"dnmf.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"dnmf.{name}":
                raise
            message = f"module 'dnmf' has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[__name__]) from None  # Python proposes a name
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
