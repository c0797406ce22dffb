"""MiniBatchNMF as a scikit-learn estimator, on batches of rows in memory or of blocks on disk."""

import dataclasses
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context

from dnmf.aliases import names_options
from dnmf.engine import SpillFolder, single_threaded_products, usable_memory
from dnmf.engine.factor import DiskFactor, MemoryFactor, WritableFactor
from dnmf.errors import DataError, SettingsError
from dnmf.estimator.batches import Batches, BlockBatches, OneBatch, RowBatches
from dnmf.estimator.containers import Table, open_table
from dnmf.estimator.convergence import Progress
from dnmf.estimator.factorizer import Factorizer
from dnmf.estimator.parameters import (
    OF_MINIBATCH,
    SHARED,
    Constraints,
    beta_of,
    check_factor,
    check_zeros,
    for_rows,
    init_for,
    initial_factors,
    penalties_of,
    rank_of,
    seed_of,
)
from dnmf.estimator.words import own_words
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block, square_sum, work_dtype
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.run.open import plan_of
from dnmf.settings import Settings
from dnmf.solvers.compatibility import check_penalties
from dnmf.solvers.online import Online, first_components
from dnmf.sources.alignment import aligned

# Share of the memory that W of all batches may take before it is moved to disk.
KEPT_SHARE = 0.3
# Updates of W of a batch that start from its W of the previous epoch.
SWEEPS = 4
INFINITE = float("inf")


class MiniBatchNMF(Factorizer):
    """Non-negative matrix factorization that updates H after every batch of rows, as a scikit-learn estimator.

    The objective is that of `NMF`, and the parameters are those of `sklearn.decomposition.MiniBatchNMF`, with the same
    meaning. Batches of a matrix in memory consist of rows drawn at random; batches of a Dask array, a Zarr array or a
    file consist of rows drawn from a few blocks at a time. The order of the batches is drawn for every epoch.

    Calls of `partial_fit` on the batches of an epoch are equivalent to `fit` with `max_iter=1`: both depend only on the
    rows seen so far. H starts from the first batch with an entry above 0. A feature is 0 in H until a batch has data of
    it.

    There is no `store`, and entries cannot be missing or weighted. `NMF(solver="minibatch")` has a store, for the
    Frobenius loss, and `NMF` with another solver takes missing entries and weights.

    Parameters
    ----------
    n_components, init, beta_loss, alpha_W, alpha_H, l1_ratio, random_state, verbose
        As in `NMF`; `init` uses the first batch.
    batch_size : int
        Number of rows of a batch.
    tol : float
        `fit` ends after the first epoch if the mean relative change of H in the steps of an epoch is at most this; 0
        disables the test.
    max_no_improvement : int or None
        `fit` ends after the first epoch if the smoothed cost, the mean of the last costs of all batches, has not
        improved for this number of consecutive batches.
    max_iter : int
        Maximum number of epochs.
    forget_factor : float
        Weight of the past after an epoch, from the second epoch on. In the first epoch and in `partial_fit`, the past
        has this weight after one to three batches, since H is still far from its final value.
    fresh_restarts : bool
        Whether to solve for W of a batch from scratch in every epoch, and not from its previous value.
    fresh_restarts_max_iter : int
        Updates of W when it is solved for from scratch, as in the first epoch and in `partial_fit`.

    Attributes
    ----------
    components_, n_components_, n_features_in_, feature_names_in_, reconstruction_err_
        As in `NMF`; the last one only after `fit`.
    n_iter_ : int
        Number of epochs begun.
    n_steps_ : int
        Number of batches processed.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1, 1], [2, 1], [3, 1.2], [4, 1], [5, 0.8], [6, 1]])
    >>> model = MiniBatchNMF(n_components=2, init="random", random_state=0).fit(X)
    >>> model.components_.shape, model.transform(X).shape
    ((2, 2), (6, 2))
    """

    _parameter_constraints: Constraints = {**SHARED, **OF_MINIBATCH}  # noqa: RUF012 — scikit-learn's name for it

    @names_options(where="dnmf.MiniBatchNMF")
    def __init__(
        self,
        n_components: Any = "auto",
        *,
        init: str | None = None,
        batch_size: int = 1024,
        beta_loss: str | float = "frobenius",
        tol: float = 1e-4,
        max_no_improvement: int | None = 10,
        max_iter: int = 200,
        alpha_W: float = 0.0,
        alpha_H: Any = "same",
        l1_ratio: float = 0.0,
        forget_factor: float = 0.7,
        fresh_restarts: bool = False,
        fresh_restarts_max_iter: int = 30,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.batch_size = batch_size
        self.beta_loss = beta_loss
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.max_iter = max_iter
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.forget_factor = forget_factor
        self.fresh_restarts = fresh_restarts
        self.fresh_restarts_max_iter = fresh_restarts_max_iter
        self.random_state = random_state
        self.verbose = verbose

    @own_words
    @own_errors
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, W: Any = None, H: Any = None) -> Self:
        """Update H with one batch; H starts from the first batch with data, unless `components_` are set.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            The batch. Lazy data are split into batches, as in the first epoch of `fit`.
        y, W : None
            Ignored.
        H : array of shape (n_components, n_features)
            Initial H for `init="custom"`; only the first call uses it.

        Returns
        -------
        self : MiniBatchNMF
            The estimator.

        Examples
        --------
        >>> import numpy as np
        >>> model, rng = MiniBatchNMF(2, random_state=0), np.random.default_rng(0)
        >>> for _ in range(3):
        ...     model = model.partial_fit(rng.random((10, 5)))
        >>> model.components_.shape, model.n_steps_
        ((2, 5), 3)
        """
        first = not hasattr(self, "_online")
        table = open_table(self, X, reset=first)
        if table.order is not None:
            raise DataError(
                "The features of X are those of the first batch in another order; give all batches with their features "
                "in the order of feature_names_in_."
            )
        _, H = initial_factors(self.init, W, H)
        H = aligned(H, (None, table.names.columns), "H")
        if first and H is None:
            H = getattr(self, "components_", None)
        online = None if first else self._online
        if first:
            self.n_steps_, self._seed = 0, seed_of(self.random_state)
        check_zeros(table, beta_of(self.beta_loss))
        batches = self._batches(table, H if first else self.components_) if table.lazy else OneBatch(table.matrix)
        with single_threaded_products():
            for batch in batches.order(0):
                online, _, _ = self._step(online, batches, batch, H)
                self.n_steps_ += 1
        self._take(online)
        return self

    def _fit(self, X: Any, W: Any, H: Any, weights: Any) -> tuple[Table, Float | None]:
        if weights is not None:
            raise SettingsError("MiniBatchNMF takes no weights; use NMF.")
        table, self._seed = open_table(self, X, reset=True), seed_of(self.random_state)
        check_zeros(table, beta_of(self.beta_loss))
        _, H = initial_factors(self.init, W, H)
        H = aligned(H, (None, table.names.columns), "H")
        init_for(self.init, rank_of(self.n_components, table.shape, H), table.shape)
        batches, rows = self._batches(table, H), table.shape[0]
        progress = Progress(self.tol, self.max_no_improvement, rows, batches.count, self.verbose)
        with single_threaded_products():
            self.n_iter_, self.n_steps_ = self._epochs(batches, rows, H, progress)
        W, loss = self._solved(table, kept=table.in_memory, measured=True)
        self.reconstruction_err_ = float(np.sqrt(2 * loss))
        if not progress.over and self.tol > 0:
            self._warn_of_end()
        return table, W

    def _epochs(self, batches: Batches, rows: int, H: Any, progress: Progress) -> tuple[int, int]:
        """Process batches until there is no more progress; return the numbers of epochs begun and of steps."""
        online: Online | None = None
        room: WritableFactor | None = None
        for epoch in range(self.max_iter):
            for batch in batches.order(epoch):
                before = online
                online, W, cost = self._step(before, batches, batch, H, room if epoch else None, rows)
                if not self.fresh_restarts:
                    room = room or room_for(online, batches.count, rows)
                    room.write(batch, W)
                if progress.ends(batch, before, online, cost):
                    break
            if progress.over:
                break
        self._take(online)
        return epoch + 1, progress.steps

    def _step(
        self,
        online: Online | None,
        batches: Batches,
        batch: int,
        H: Any,
        room: WritableFactor | None = None,
        most: float = INFINITE,
    ) -> tuple[Online, Float, float]:
        """Make a step with a batch, starting from its W of the previous epoch if that is stored."""
        V = batches.read(batch)
        try:
            if online is None or (online.top is None and not self._given):  # or no data so far
                online = self._started(V, H, online)
            W = None if room is None else room.read(batch)
            sweeps = self.fresh_restarts_max_iter if W is None else SWEEPS
            return online.step(V, W, self._settings, self.forget_factor, sweeps, most)
        except BadEntry as error:
            raise batches.place(batch, error) from None

    def _started(self, V: Block, H: Any, before: Online | None) -> Online:
        """Return the initial state for a first batch V (n_features, w), which may follow batches without data."""
        shape, dtype = V.shape[::-1], work_dtype(V.dtype)
        square_sum(V, dtype, Scratch())
        rank = rank_of(self.n_components, shape, H)
        penalties = penalties_of(self, (1, shape[1]))
        init = init_for(self.init, rank, shape)
        options = {"rank": rank, "loss": self.beta_loss, "init": init, "seed": self._seed, **penalties}
        self._settings = for_rows(Settings.from_options(options))
        if before is None:
            check_penalties(self._settings)
        self._given = self.init == "custom" or H is not None
        given = check_factor(H, (rank, shape[1]), "MiniBatchNMF", "H") if self._given else None
        start = first_components(V, self._settings, given)
        before = before or Online(start, np.zeros_like(start))
        return dataclasses.replace(before, start=start)

    def _batches(self, table: Table, H: Any) -> Batches:
        """Return the batches of a table."""
        if table.lazy:
            source = table.by_rows()
            plan_of(source.layout, Settings(rank=rank_of(self.n_components, table.shape, H)))  # raises for large blocks
            return BlockBatches(source, self.batch_size, self._seed)
        return RowBatches(table.matrix, self.batch_size, self._seed)

    def _take(self, online: Online | None) -> None:
        """Set the attributes from the state of the algorithm."""
        assert online is not None
        self._online, self._by_hand = online, False
        self.components_ = np.ascontiguousarray(online.Ht.T)
        self.n_components_ = len(self.components_)


def room_for(online: Online, batches: int, rows: int) -> WritableFactor:
    """Return a factor for W of all batches: in memory, or on disk if it is large."""
    rank = online.Ht.shape[1]
    if rank * rows * online.Ht.itemsize <= KEPT_SHARE * usable_memory():
        return MemoryFactor(batches)
    folder = SpillFolder()
    return DiskFactor(folder.path, rank, online.Ht.dtype, owner=folder)
