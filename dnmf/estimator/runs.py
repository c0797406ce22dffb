"""The run of a fit: a new one, or the one in its store."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

from dnmf.estimator.containers import Table
from dnmf.estimator.convergence import VerbosePrinter
from dnmf.estimator.parameters import check_fixed_components
from dnmf.estimator.persistence import is_store
from dnmf.run.open import new_run, old_run
from dnmf.run.run import Run

# Parameters of scikit-learn that it ignores with other solvers.
OF_OTHER_SOLVERS = ("shuffle",)


@contextmanager
def running(model: Any, table: Table, options: dict[str, Any], given: Any) -> Iterator[Run]:
    """Start the run of an `NMF`, or resume the one in its store if it has the same data and parameters."""
    watchers = [VerbosePrinter(type(model).__name__)] if model.verbose else []
    client = model.client or table.client
    source = table.by_rows() if isinstance(options["rank"], list) else table.source()
    if model.store is not None and is_store(model.store):
        if not isinstance(model.random_state, Integral):  # any seed will do, and so will that of the store
            del options["seed"]
        fixed = options.pop("fixed_H", None)
        options["n_fixed_H"] = 0 if fixed is None else len(fixed)
        with old_run(model.store, source, options, watchers, None, client) as run:
            yield run
        check_fixed_components(model.store, fixed, model.components_)
        return
    options = options if given is None else options | {"init": given}
    with new_run(source, options, model.store, False, watchers, None, client, OF_OTHER_SOLVERS) as run:
        yield run
