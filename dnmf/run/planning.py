"""The plan of a run, made before anything is read."""

from collections.abc import Sequence
from typing import Any, Unpack

from dnmf.aliases import names_options
from dnmf.checkpoint.run_names import names_of
from dnmf.engine.plan import Plan
from dnmf.engine.session import open_session
from dnmf.kernels.floats import own_errors
from dnmf.run.coupled import couple
from dnmf.run.open import open_for, settings_of
from dnmf.run.options import Options, shows_options
from dnmf.solvers.selection import resolve


@names_options()
@own_errors
@shows_options
def plan(V: Any, rank: int | Sequence[int] | None = None, *, client: Any = None, **options: Unpack[Options]) -> Plan:
    """Plan a run with the options of `factorize`: blocks, panels, threads, peak memory, bytes read per pass.

    On a cluster, memory and threads are those of one worker.

    Raises
    ------
    BudgetError
        If the memory limit is too small for a block.

    Examples
    --------
    >>> import numpy as np
    >>> plan(np.ones((100, 5000), np.float32), rank=5).blocks
    1
    """
    weights, settings = options.get("weights"), settings_of({"rank": rank, **options})
    source = open_for(V, settings, weights)
    coupling, _ = couple(dict(options), settings, V, source.layout, names_of(options, source.layout))
    load = resolve(settings, source.layout, weights is not None, coupling).load
    with open_session(client, source) as session:
        return session.plan(settings, load)
