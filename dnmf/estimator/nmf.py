"""scikit-learn's NMF, out of core."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from dnmf.errors import SettingsError
from dnmf.estimator.containers import Table, opened
from dnmf.estimator.convergence import Told
from dnmf.estimator.factorizer import Factorizer
from dnmf.estimator.measuring import measured
from dnmf.estimator.parameters import (
    OF_NMF,
    SHARED,
    Constraints,
    begun_with,
    beta_of,
    check_factor,
    check_zeros,
    checked_factors,
    for_rows,
    options_of,
    rank_of,
)
from dnmf.estimator.persistence import fitted_in, is_store, told_of
from dnmf.kernels.blocks.tiles import Float
from dnmf.run.open import new_run, old_run
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.settings import Settings
from dnmf.solvers.stopping import Allowed
from dnmf.sources.alignment import aligned, aligned_factors


class NMF(Factorizer):
    """Non-negative matrix factorization as a scikit-learn estimator, for data of any size.

    X (n_samples, n_features) ≈ W · H with H = `components_`, and W what `transform` returns. It takes what
    `sklearn.decomposition.NMF` takes and means the same by it: it minimises

    D(X, WH) + alpha_W · n_features · (l1_ratio ‖W‖₁ + ½ (1 − l1_ratio) ‖W‖²)
             + alpha_H · n_samples · (l1_ratio ‖H‖₁ + ½ (1 − l1_ratio) ‖H‖²),

    where D is ½‖X − WH‖² or another β-divergence. X is read block by block, within `memory_limit`.

    Parameters
    ----------
    n_components : int, "auto" or None
        Number of components. `"auto"` is that of a given H, or else all features, as `None`.
    init : str or None
        `None` is `"nndsvda"` where there are as many samples and features as components and nothing is missing, else
        `"random"`; also `"nndsvd"`, `"nndsvdar"`, `"custom"` for the W and H given to `fit`, and those of
        `dnmf.factorize`: `"sketch"`, which costs one read where these cost three, and `"auto"`.
    solver : str
        `"cd"` (HALS; for Kullback–Leibler, Newton's method by coordinates), `"mu"`, and those of `dnmf.factorize`:
        `"auto"`, which needs the fewest reads, `"sketch"`, `"newton"`, `"hals"`, `"als"`, `"minibatch"`.
    beta_loss : str or float
        `"frobenius"`, `"kullback-leibler"`, `"itakura-saito"`, or β as a number.
    tol : float
        Relative optimality at which the fit has converged: how far the factors are from meeting the optimality
        conditions. It depends on the factors alone, not on where they started or on the scale of X.
    max_iter : int
        Iterations allowed; each is a read of X. Those of the initialisation come on top, and one more for the final W.
    random_state : int, RandomState or None
        Of the initialisation.
    alpha_W, alpha_H, l1_ratio : float
        Penalties, as above; `alpha_H="same"` is `alpha_W`.
    verbose : int
        Whether to print a line after every iteration.
    shuffle : bool
        Whether `"cd"` takes the components in an order drawn anew for every iteration, for the Frobenius loss.
    store : path or None
        Where checkpoints go: a folder or a URL. A fit that finds a store there of the same X and parameters goes on
        where it was; one of others is refused. With `random_state=None` the seed of the store is taken.
        `NMF.from_store` makes a fitted estimator of it.
    checkpoint_every : int
        Iterations between two checkpoints.
    memory_limit : int, str or None
        Bytes the process may hold, as `"1GB"`; 60 % of what it may use by default.
    max_seconds : float or None
        Seconds after which the iteration under way is the last.
    missing : str
        `"nan"`: NaN in a dense X is missing. `"zeros"`: what a sparse X does not store is missing. Missing entries
        count for nothing, in `fit` and in `transform`.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        H.
    n_components_ : int
        Number of components.
    n_iter_ : int
        Iterations made.
    reconstruction_err_ : float
        √(2 D(X, WH)) with the W that `transform` returns for X; for the Frobenius loss, ‖X − WH‖. Where X is lazy and
        cut along its features, and the loss another one, W is that of the fit.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has names that are all texts.

    See Also
    --------
    MiniBatchNMF : Updates H after every batch of rows.
    dnmf.factorize : The same as a function, with more to choose.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1, 1], [2, 1], [3, 1.2], [4, 1], [5, 0.8], [6, 1]])
    >>> model = NMF(n_components=2, init="random", random_state=0)
    >>> W = model.fit_transform(X)
    >>> bool(np.allclose(W @ model.components_, X, atol=1e-2))
    True
    """

    _parameter_constraints: Constraints = {**SHARED, **OF_NMF}  # noqa: RUF012 — scikit-learn's name for it

    def __init__(
        self,
        n_components: Any = "auto",
        *,
        init: str | None = None,
        solver: str = "cd",
        beta_loss: str | float = "frobenius",
        tol: float = 1e-4,
        max_iter: int = 200,
        random_state: Any = None,
        alpha_W: float = 0.0,
        alpha_H: Any = "same",
        l1_ratio: float = 0.0,
        verbose: int = 0,
        shuffle: bool = False,
        store: str | Path | None = None,
        checkpoint_every: int = 10,
        memory_limit: int | str | None = None,
        max_seconds: float | None = None,
        missing: str = "none",
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.beta_loss = beta_loss
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.verbose = verbose
        self.shuffle = shuffle
        self.store = store
        self.checkpoint_every = checkpoint_every
        self.memory_limit = memory_limit
        self.max_seconds = max_seconds
        self.missing = missing

    @classmethod
    def from_store(cls, store: str | Path) -> Self:
        """Return the estimator whose fit wrote a store, fitted; X is not needed.

        It serves as well for what `dnmf fit` or `dnmf.factorize` wrote, and for a fit that was interrupted, as it was
        at its newest checkpoint.

        Raises
        ------
        StoreError
            If there is no store, or no whole checkpoint in it.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> X, store = np.eye(4), f"{tempfile.mkdtemp()}/run.zarr"
        >>> W = NMF(2, random_state=0, store=store).fit_transform(X)
        >>> bool((NMF.from_store(store).transform(X) == W).all())
        True
        """
        parameters, attributes = fitted_in(store, set(cls._get_param_names()))
        model = cls(**parameters)
        model._validate_params()
        for name, value in attributes.items():
            setattr(model, name, value)
        return model

    def _fit(self, X: Any, W: Any, H: Any) -> tuple[Table, Float | None]:
        table = opened(self, X, reset=True)
        W, H = begun_with(self.init, W, H)
        options = options_of(self, table.shape, H)
        check_zeros(table, beta_of(self.beta_loss))
        W, H = aligned_factors(W, H, table.names)
        given = checked_factors(table.shape, options["rank"], W, H) if self.init == "custom" else None
        with self._running(table, options, given) as run:
            run.settings = run.settings.replace({"max_passes": self.max_iter + run.passes_of_start})
            run.allowed = Allowed(self.max_iter, "iterations", "max_iter")
            self._tell(run)
            for _ in run:
                pass
            result = run.result()
            self._take(result)
            lazy = table.lazy
            W, loss = (None, measured(run, self.components_)) if lazy else self._solved(table, measured=True)
            self.reconstruction_err_ = float(np.sqrt(2 * loss))
            self._tell(run, self.reconstruction_err_)
        if not result.converged and self.n_iter_ >= self.max_iter and self.tol > 0:
            self._warn_of_end()
        return table, W

    def _with_components(self, X: Any, H: Any) -> Any:
        """Return W for an H that is given in place of a fit."""
        self._validate_params()
        if H is None:
            raise SettingsError("update_H=False solves for the W of a given H, and H is None; give one.")
        table = opened(self, X, reset=True)
        H = aligned(H, (None, table.names.columns), "H")
        rank = rank_of(self.n_components, table.shape, H)
        self.components_ = check_factor(H, (rank, table.shape[1]), "NMF", "H")
        self._settings = for_rows(Settings.from_options(options_of(self, table.shape, self.components_)))
        check_zeros(table, beta_of(self.beta_loss))
        return self._transformed(table)

    def _tell(self, run: Run, error: float | None = None) -> None:
        """Let the store say of what estimator it is."""
        if run.store is not None:
            run.store.amend(told_of(self, run.settings, error))

    def _take(self, result: Result) -> None:
        """Take over what a run has found."""
        self.components_ = np.array(result.H)
        self.n_components_, self.n_iter_ = len(self.components_), len(result.history)
        self._settings, self._by_hand = for_rows(result.settings), False

    @contextmanager
    def _running(self, table: Table, options: dict[str, Any], given: Any) -> Iterator[Run]:
        """Start a run, or go on with the one that the store has of the same data and parameters."""
        watchers = [Told(type(self).__name__)] if self.verbose else []
        if self.store is not None and is_store(self.store):
            if not isinstance(self.random_state, Integral):  # then any seed will do, and the store's is as good
                del options["seed"]
            with old_run(self.store, table.source(), options, watchers, None, table.client) as run:
                yield run
            return
        options = options if given is None else options | {"init": given}
        with new_run(table.source(), options, self.store, False, watchers, None, table.client) as run:
            yield run
