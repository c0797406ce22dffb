"""Advance a bundle of models from its last checkpoint to its last pass."""

import dataclasses
from collections.abc import Callable

from dnmf.checkpoint import Store
from dnmf.checkpoint.state import save_state, saved_state
from dnmf.errors import keep_before
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundle
from dnmf.solvers.history import Record
from dnmf.solvers.iteration import Method, PassContext, iterate
from dnmf.solvers.state import State
from dnmf.solvers.stopping import converged
from dnmf.sources.base import Layout


def saved_bundle(checkpoints: Store | None, layout: Layout, alike: int) -> tuple[State, list[Record]] | None:
    """Return the bundle of the last checkpoint with its history, or None if there is none.

    The first `alike` models see blocks of the norms in the checkpoint. Others see blocks with hidden entries, whose
    norms are others.
    """
    commit = None if checkpoints is None else checkpoints.newest()
    if commit is None or checkpoints is None:
        return None
    state = saved_state(checkpoints, commit, layout)
    others = [dataclasses.replace(part, norms=None) for part in state.parts[alike:]]
    return bundle([*state.parts[:alike], *others], state.H), [Record(**record) for record in commit.history]


def advance(
    context: PassContext,
    begun: tuple[State, list[Record]],
    method: Method,
    settings: Settings,
    checkpoints: Store | None,
    advanced: Callable[[State, list[Record]], None],
) -> State:
    """Make passes until the models have converged, with checkpoints on the way and at the end, and return the state.

    `advanced` is called after every pass, and adds it to the history.
    """
    state, history = begun
    states = iterate(context, state, method)

    def save() -> None:
        if checkpoints is not None and history and history[-1].passes == state.passes:
            save_state(checkpoints, state, history, None, context.layout.bounds, settings.keep_checkpoints)

    try:
        while state.passes < settings.max_passes and not converged(state.parts, settings):
            state = next(states)
            advanced(state, history)
            last = state.passes >= settings.max_passes
            if last or state.passes % settings.checkpoint_every == 0:
                save()
    except BaseException as error:
        keep_before(error, save, f"The checkpoint after pass {state.passes}")
        raise
    return state
