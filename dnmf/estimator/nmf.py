"""NMF as a scikit-learn estimator, out of core."""

import dataclasses
from pathlib import Path
from typing import Any, Self

import numpy as np

from dnmf.aliases import names_options
from dnmf.errors import SettingsError
from dnmf.estimator.containers import Table, open_table
from dnmf.estimator.factorizer import Factorizer
from dnmf.estimator.loss import fitted_W
from dnmf.estimator.parameters import (
    OF_NMF,
    SHARED,
    Constraints,
    beta_of,
    check_factor,
    check_zeros,
    checked_factors,
    for_rows,
    initial_factors,
    options_of,
    rank_of,
)
from dnmf.estimator.persistence import described, stored_estimator
from dnmf.estimator.runs import running
from dnmf.kernels.blocks.tiles import Float
from dnmf.run.coupled import GRAPHS
from dnmf.run.result import Result
from dnmf.run.run import Run
from dnmf.settings import Settings
from dnmf.solvers.stopping import Allowed
from dnmf.sources.alignment import aligned, aligned_factors
from dnmf.sources.graphs import located_graph


class NMF(Factorizer):
    """Non-negative matrix factorization as a scikit-learn estimator, for data of any size.

    X (n_samples, n_features) ≈ W · H, where H is `components_` and `transform` returns W. The parameters are those of
    `sklearn.decomposition.NMF`, with the same meaning except for `tol`, and some more. The objective is

    D(X, WH) + alpha_W · n_features · (l1_ratio ‖W‖₁ + ½ (1 − l1_ratio) ‖W‖²)
             + alpha_H · n_samples · (l1_ratio ‖H‖₁ + ½ (1 − l1_ratio) ‖H‖²),

    where D is ½‖X − WH‖² or another β-divergence. X is read block by block, within `memory_limit`.

    Parameters
    ----------
    n_components : int, list of int, "auto" or None
        Number of components, or those of several layers, as (100, 49, 25), each of whose H is a product of that of the
        layer before. `"auto"`: that of a given H, or else the number of features, as for `None`.
    init : str or None
        `None`: for `"cd"` and `"mu"` as in scikit-learn, `"nndsvda"` if n_components ≤ min(n_samples, n_features) and
        no entries are missing, else `"random"`; for the other solvers `"auto"`.
        Also `"nndsvd"`, `"nndsvdar"`, `"custom"` for the W and H passed to `fit`, `"auto"`, `"sketch"` (one read), and
        `"spa"` or `"spa_rows"` (pure features or samples).
    solver : str
        `"cd"` (HALS; for Kullback–Leibler, coordinate-wise Newton steps), `"mu"`, and as in `dnmf.factorize`
        `"auto"`, which needs the fewest reads, `"sketch"`, `"newton"`, `"hals"`, `"als"`, `"pg"` and `"minibatch"`.
    beta_loss : str or float
        `"frobenius"`, `"kullback-leibler"`, `"itakura-saito"`, or the number β of a β-divergence.
    tol : float
        The fit has converged when the decrease of the loss that is predicted for the next iteration is at most this
        share of it. In scikit-learn, `tol` is relative to the start of the fit; here it depends neither on the
        initialisation nor on the scale of X.
    max_iter : int
        Maximum number of iterations, each of which reads X once. The initialisation and the final W need further reads.
    random_state : int, RandomState or None
        Seed of the initialisation. With `None`, every fit draws another seed; `dnmf.factorize` has `seed=0`.
    alpha_W, alpha_H, l1_ratio : float
        Penalties, as above; `alpha_H="same"` is `alpha_W`.
    verbose : int
        Whether to print a line after every iteration.
    shuffle : bool
        Whether `"cd"` updates the components in another order in every iteration, for the Frobenius loss.
    store : path or None
        Path or URL of a folder for checkpoints. A fit resumes from an existing store of the same X and parameters, and
        refuses any other store. With `random_state=None` the seed of the store is used. `NMF.from_store` loads a fitted
        estimator from the store.
    checkpoint_every : int
        Iterations between two checkpoints.
    memory_limit : int, str or None
        Memory limit of the process, in bytes or as `"1GB"`; by default 60 % of the memory available to it.
    max_seconds : float or None
        Time in seconds after which the current iteration is the last one.
    missing : str
        `"nan"`: NaN in a dense X is missing. `"zeros"`: entries that a sparse X does not store are missing. Missing
        entries count neither in `fit` nor in `transform`.
    n_runs : int
        Number of random starts on the same reads of X, of which the best is kept. With `init=None`, more than one run
        starts as with `"auto"`.
    threads : int or None
        Number of blocks processed at once; by default one per core, and one more if X is read from a disk.
    fixed_components : array of shape (n_fixed, n_features) or None
        Known rows of H. They become the first components and do not change.
    graph_W, graph_H : sparse matrix, array, address or None
        Graphs between the samples (n_samples, n_samples) and between the features (n_features, n_features): neighbours
        get similar rows of W, or columns of H; see `dnmf.factorize` and `dnmf.graphs`. With `graph_W`, `fit_transform`
        returns the W of the fit. `transform` takes new samples without neighbours; `dnmf.transform` joins them by
        edges.
    graph_weight : float or pair of floats
        Weight of both graphs, or those of `graph_W` and `graph_H`: with 1, neighbours pull about as hard as the data.
    layer_weights : sequence of float, "greedy" or None
        Weights of the losses of several layers, 1 by default; `"greedy"` factorises the W of each layer by itself.
    constraints : dict or None
        Constraints of `dnmf.factorize` by name, but `columns_W`; as `{"rows_W": "simplex"}` with `solver="auto"`.
    client : distributed.Client, str or None
        Where to read lazy data: a client, the address of a scheduler, or `"threads"`; by default the current client.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        H. Where `max_iter` ends a fit whose loss is not the Frobenius loss, and X is read by rows, H is that after the
        last step, unless the loss is higher with it; `result_.history` ends before it.
    layers_ : list of ndarray of shape (n_components[i], n_features)
        H of every layer, if `n_components` has several numbers; `components_` is the last one.
    n_components_ : int
        Number of components.
    n_iter_ : int
        Number of iterations.
    reconstruction_err_ : float
        √(2 D(X, WH)) with the W that `transform` returns for X; for the Frobenius loss, ‖X − WH‖. If X is lazy and cut
        along its features, W is that of the fit for other losses.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if all names are texts.
    result_ : dnmf.Result
        The run: its `history`, `verdict`, plots and report. A pickled estimator does not have it.

    See Also
    --------
    MiniBatchNMF : Updates H after every batch of rows.
    dnmf.factorize : The same as a function, with more options.

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

    @names_options(where="dnmf.NMF")
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
        n_runs: int = 1,
        threads: int | None = None,
        fixed_components: Any = None,
        graph_W: Any = None,
        graph_H: Any = None,
        graph_weight: float | tuple[float, float] = 1.0,
        layer_weights: Any = None,
        constraints: dict[str, Any] | None = None,
        client: Any = None,
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
        self.n_runs = n_runs
        self.threads = threads
        self.fixed_components = fixed_components
        self.graph_W = graph_W
        self.graph_H = graph_H
        self.graph_weight = graph_weight
        self.layer_weights = layer_weights
        self.constraints = constraints
        self.client = client

    @classmethod
    def from_store(cls, store: str | Path) -> Self:
        """Load a fitted estimator from the store of its fit; X is not needed.

        The store may also be that of `dnmf fit` or `dnmf.factorize`, or of an interrupted fit, of which the newest
        checkpoint is used.

        Raises
        ------
        StoreError
            If there is no store, or it has no valid checkpoint.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> X, store = np.eye(4), f"{tempfile.mkdtemp()}/run.zarr"
        >>> W = NMF(2, random_state=0, store=store).fit_transform(X)
        >>> bool((NMF.from_store(store).transform(X) == W).all())
        True
        """
        parameters, attributes = stored_estimator(store, set(cls._get_param_names()))
        model = cls(**parameters)
        model._validate_params()
        for name, value in attributes.items():
            setattr(model, name, value)
        return model

    def _fit(self, X: Any, W: Any, H: Any, weights: Any) -> tuple[Table, Float | None]:
        table = dataclasses.replace(open_table(self, X, reset=True), weights=weights)
        W, H = initial_factors(self.init, W, H)
        options = options_of(self, table.shape, H)
        options |= {name: located_graph(options[name], X) for name in GRAPHS if name in options}
        check_zeros(table, beta_of(self.beta_loss))
        W, H = aligned_factors(W, H, table.names)
        given = checked_factors(table.shape, options["rank"], W, H) if self.init == "custom" else None
        with running(self, table, options, given) as run:
            run.settings = run.settings.replace({"max_passes": self.max_iter + run.passes_of_start})
            run.allowed = Allowed(self.max_iter, "iterations", "max_iter")
            self._describe(run)
            for _ in run:
                pass
            result = run.result()
            self._take(result)
            if self.graph_W is None and table.in_memory and not run.source.layout.transposed:
                W, loss = self._solved(table, measured=True)
            else:
                found, W, loss = fitted_W(self, run, result, not table.in_memory)
                if found is not result:
                    self._take(found)
            self.reconstruction_err_ = float(np.sqrt(2 * loss))
            self._describe(run, self.reconstruction_err_, None if self.result_ is result else result.passes)
        if not result.converged and self.n_iter_ >= self.max_iter and self.tol > 0:
            self._warn_of_end()
        return table, W

    def _with_components(self, X: Any, H: Any) -> Any:
        """Return W for a given H, without a fit."""
        self._validate_params()
        if H is None:
            raise SettingsError("update_H=False solves for the W of a given H, and H is None; give H.")
        table = open_table(self, X, reset=True)
        H = aligned(H, (None, table.names.columns), "H")
        rank = rank_of(self.n_components, table.shape, H)
        self.components_ = check_factor(H, (rank, table.shape[1]), "NMF", "H")
        self._settings = for_rows(Settings.from_options(options_of(self, table.shape, self.components_)))
        check_zeros(table, beta_of(self.beta_loss))
        return self._transformed(table)

    def _describe(self, run: Run, error: float | None = None, proposed: int | None = None) -> None:
        """Save the parameters of the estimator in the store."""
        if run.store is not None:
            run.store.amend(described(self, run.settings, error, proposed))

    def _take(self, result: Result) -> None:
        """Set the attributes from the result of a run."""
        self.components_ = np.array(result.H)
        if result.layers:
            self.layers_ = [np.array(layer.H) for layer in result.layers]
        self.n_components_, self.n_iter_ = len(self.components_), len(result.history)
        self._settings, self._by_hand, self.result_ = for_rows(result.settings), False, result

    def __getstate__(self) -> Any:
        """Leave out the run, which may have files of this machine."""
        return {name: value for name, value in super().__getstate__().items() if name != "result_"}
