"""Names of losses and options in other packages, for which errors propose those of dnmf, and in earlier versions."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from dnmf.errors import SettingsError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

# Names of losses in other packages.
LOSS_ALIASES = dict.fromkeys(("euclidean", "fro", "gaussian", "l2", "mse"), "frobenius")
LOSS_ALIASES |= {"kl": "kullback-leibler", "poisson": "kullback-leibler", "is": "itakura-saito"}

# Names of options in other packages or in other functions of dnmf, in lower case, by the options that are meant: the
# first of them that a function has.
MEANT: dict[tuple[str, ...], tuple[str, ...]] = {
    ("alpha_h", "l2_h"): ("l2_H", "alpha_H"),
    ("alpha_w", "l2_w", "alpha"): ("l2_W", "alpha_W"),
    ("l1_h",): ("l1_H", "alpha_H"),
    ("l1_w",): ("l1_W", "alpha_W"),
    ("axes", "dim"): ("axis",),
    ("batch_size", "chunk_size"): ("batch_size", "chunks", "memory_limit"),
    ("chunks", "max_memory", "mem_limit", "ram"): ("memory_limit",),
    ("beta", "beta_loss", "loss", "objective", "divergence"): ("loss", "beta_loss"),
    ("callback", "callbacks", "hooks"): ("watchers",),
    ("checkpoint", "checkpoint_dir", "checkpoints", "save", "save_to"): ("store",),
    ("compression", "codec"): ("compressor",),
    ("components", "ks", "k_range", "k_values", "rank_range", "range"): ("ranks", "rank", "n_components"),
    ("k", "n_components", "n_factors", "n_topics", "num_components", "rank", "r"): ("ranks", "rank", "n_components"),
    ("data", "matrix", "x", "v", "adata"): ("V", "X", "origin", "adata"),
    ("epochs", "iterations", "max_iter", "max_iterations", "max_passes", "n_iter", "n_iterations"): (
        "max_passes",
        "max_iter",
    ),
    ("features", "n_features", "n_top", "top", "top_n"): ("n",),
    ("file", "filename", "out", "output", "path", "dest", "destination"): ("out", "path", "target", "store"),
    ("fixed_components", "fixed_h", "h_fixed"): ("fixed_H", "fixed_components"),
    ("fixed", "w_fixed"): ("fixed_W",),
    ("fmt", "filetype"): ("format",),
    ("folds", "k_fold", "k_folds", "kfold", "n_folds", "n_splits", "cross_validation"): ("cv",),
    ("force", "clobber", "exist_ok", "replace"): ("overwrite",),
    ("graph", "adjacency", "laplacian"): ("graph_W",),
    ("lambda_graph", "graph_strength", "weights_to_try"): ("graph_weights", "graph_weight"),
    ("held_out", "heldout", "hold_out", "test_size", "test_entries"): ("holdout",),
    ("initial", "initialization", "start", "w_init", "h_init"): ("init",),
    ("iters",): ("max_passes", "max_iter"),
    ("keep", "keep_last", "max_to_keep"): ("keep_checkpoints",),
    ("known", "known_entries", "ignore", "seen"): ("exclude",),
    ("mask", "sample_weight"): ("holdout", "weights", "exclude"),
    ("method", "algorithm", "update", "update_rule"): ("solver",),
    ("n_init", "n_replicates", "n_restarts", "nrun", "nruns", "replicates", "restarts", "runs", "n_runs"): ("n_runs",),
    ("n_jobs", "n_threads", "n_workers", "num_threads", "cores", "workers"): ("threads", "client"),
    ("name", "names"): ("row_names", "title", "keys"),
    ("random_seed", "random_state", "rng", "seed"): ("seed", "random_state"),
    ("scheduler", "cluster", "dask_client"): ("client",),
    ("time_limit", "timeout", "max_time"): ("max_seconds",),
    ("tolerance", "eps", "epsilon"): ("tol",),
    ("verbose", "show_progress", "progress_bar", "disp"): ("progress", "verbose"),
    ("volume", "min_vol"): ("volume_W",),
}
# Numbers that settings have in place of an array: what the array holds, and its option.
COUNTS = dict.fromkeys(("n_fixed_W", "fixed"), ("columns of W", "fixed_W")) | {"n_fixed_H": ("rows of H", "fixed_H")}
# Settings that earlier versions stored under another name.
RENAMED = {"fixed": "n_fixed_W", "keep": "keep_checkpoints"}
OPTION_ALIASES = {name: meant for names, meant in MEANT.items() for name in names}


def renamed(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header with the settings of earlier versions under the names of today.

    >>> renamed({"settings": {"rank": 2, "fixed": 1}})
    {'settings': {'rank': 2, 'n_fixed_W': 1}}
    """
    settings = header.get("settings")
    if not isinstance(settings, dict):
        return header
    return {**header, "settings": {RENAMED.get(name, name): value for name, value in settings.items()}}


def unknown_option(name: str, known: Iterable[str], where: str = "") -> SettingsError:
    """Return the error for an option that a function does not have, with the one that is meant.

    >>> print(unknown_option("n_folds", ["ranks", "cv"]))
    the option 'n_folds' is not known. Did you mean 'cv'?
    """
    parts, option = COUNTS.get(name, ("", ""))
    if option in (known := list(known)):
        return SettingsError(f"the option {name!r} is not known; give the known {parts} as {option}=.")
    hint = did_you_mean(name, known, OPTION_ALIASES) or (f" See help({where})." if where else "")
    return SettingsError(f"the option {name!r} is not known.{hint}")


def names_options(also: Iterable[str] = (), where: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the keywords of a function before anything else, so that errors propose the option that is meant.

    Parameters
    ----------
    also
        Names that its `**options` take.
    where
        What describes its options, by default the function.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"] + [*also]

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    raise unknown_option(name, known, where or f"dnmf.{function.__name__}")
            return function(*args, **kwargs)

        return run

    return decorate
