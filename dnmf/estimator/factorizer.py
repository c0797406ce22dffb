"""The base class of the estimators: fit, transform, inverse transform and score."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from dnmf.errors import DataWarning, warn
from dnmf.estimator.containers import Table, as_product, open_table
from dnmf.estimator.parameters import settings_by_hand
from dnmf.estimator.rows import Rows, lazy_rows
from dnmf.estimator.words import own_words
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.steps import Step
from dnmf.run.transform import solved
from dnmf.settings import Settings
from dnmf.sources import Source
from dnmf.sources.prepared import Prepared

INFINITE = float("inf")


class Factorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """Base class of estimators with `components_`, and with `_settings` for the solution of the rows of W.

    `components_` may also be set by hand instead of a fit; the settings are then derived from the parameters.
    """

    max_iter: int
    components_: Float
    _settings: Settings
    _by_hand = False

    @own_words
    @own_errors
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, W: Any = None, H: Any = None, weights: Any = None) -> Self:
        """Learn H from data.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            A NumPy array, a SciPy CSR or CSC matrix, a pandas or polars frame, a Dask array or frame, an xarray
            DataArray, an AnnData, a `zarr.Array`, or the address of a matrix that `dnmf.factorize` opens. Lazy data and
            files are streamed.
        y : None
            Ignored.
        W, H : arrays of shape (n_samples, n_components) and (n_components, n_features)
            Initial factors for `init="custom"`; they are not changed. `MiniBatchNMF` ignores W, which it solves for in
            every batch.
        weights : of shape (n_samples, n_features) or None
            Weights of the entries, at least 0: an array or a sparse matrix in memory, or data of the kind of X. The
            loss of each entry is multiplied by its weight. `MiniBatchNMF` takes none.

        Returns
        -------
        self : NMF or MiniBatchNMF
            The estimator.
        """
        self._fit(X, W, H, weights)
        return self

    @own_words
    @own_errors
    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None, W: Any = None, H: Any = None, weights: Any = None) -> Any:
        """Learn H from data and return W, bit by bit equal to `fit(X).transform(X)`.

        Parameters
        ----------
        X, y, W, H, weights
            As in `fit`.

        Returns
        -------
        W : of shape (n_samples, n_components)
            As from `transform`.
        """
        table, W = self._fit(X, W, H, weights)
        return self._transformed(table, W)

    @own_words
    @own_errors
    def transform(self, X: Any, weights: Any = None) -> Any:
        """Return W for the rows of X, with `components_` held fixed.

        Every row is solved independently, with the penalties of the fit: exactly for the Frobenius loss, also with
        missing entries, and to convergence for other losses. The result does not depend on the solver of the fit.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            Data of any kind that `fit` takes.
        weights : of shape (n_samples, n_features) or None
            Weights of the entries, as for `fit`; W is then computed at once.

        Returns
        -------
        W : of shape (n_samples, n_components)
            A NumPy array, or a container chosen by `set_output`. For a Dask array or frame, or a path, a lazy Dask
            array with the row chunks of X. For a DataArray, a DataArray.
        """
        self._check_ready()
        table = open_table(self, X, reset=False, lengths=weights is not None)
        return self._transformed(dataclasses.replace(table, weights=weights))

    @own_words
    @own_errors
    def inverse_transform(self, X: Any) -> Any:
        """Return the data WH for W.

        Parameters
        ----------
        X : of shape (n_samples, n_components)
            W: an array, a sparse matrix, a Dask array, or a DataArray.

        Returns
        -------
        X_original : of shape (n_samples, n_features)
            WH, of the same kind as W.
        """
        self._check_ready()
        return as_product(X, self.components_, getattr(self, "feature_names_in_", None))

    @own_words
    @own_errors
    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean divergence of the samples of X from WH.

        Higher is better. Use the score to compare losses, penalties or initialisations for the same number of
        components. It cannot choose that number: W is solved for with all entries of X, so that more components nearly
        always score higher, also on new samples. `dnmf.select_rank` holds out entries and can.

        For β ≤ 1, such as Kullback–Leibler, the divergence is infinite if X has data of a feature that is 0 in all
        components, such as a word that no sample of the fit has. Such features are left out with a warning.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            Data of any kind that `fit` takes; read once, block by block, and again if features are left out.
        y : None
            Ignored.

        Returns
        -------
        score : float
            At most 0.

        Warns
        -----
        DataWarning
            If the divergence is infinite; with the number of features that are 0 in `components_`.
        """
        self._check_ready()
        table = open_table(self, X, reset=False)
        loss = self._solved(table, kept=False, measured=True)[1]
        if not np.isfinite(loss):
            loss = self._finite(table)
        return -loss / table.shape[0]

    def _finite(self, table: Table) -> float:
        """Return the loss without the features that are 0 in all components, for which it is infinite; warn."""
        known = np.asarray((self.components_ > 0).any(axis=0))
        lost, features = int((~known).sum()), len(known)
        if self._settings.beta <= 0 or known.all() or not known.any():
            warn(
                f"The score is -inf: X has data where WH is 0, and {lost} of {features} features are 0 in components_. "
                "Fit to data with those features, or choose a beta_loss above 1.",
                DataWarning,
            )
            return INFINITE
        warn(
            f"{lost} of {features} features are 0 in components_, and X has data of such features: the divergence is "
            "infinite. The score leaves these features out. Fit to data with them, drop them, or choose a beta_loss "
            "above 1.",
            DataWarning,
        )
        return self._solved(table, kept=False, measured=True, features=known)[1]

    def _check_ready(self) -> None:
        """Raise NotFittedError without `components_`; derive the settings if they were set by hand."""
        check_is_fitted(self)
        if not hasattr(self, "_settings") or self._by_hand:
            self._validate_params()
            self._settings, self._by_hand = settings_by_hand(self), True
            self.components_ = np.asarray(self.components_)
            self.n_features_in_ = self.components_.shape[1]

    @abstractmethod
    def _fit(self, X: Any, W: Any, H: Any, weights: Any) -> tuple[Table, Float | None]:
        """Fit; return the opened data, and their W if they are in memory."""

    def _warn_of_end(self) -> None:
        """Warn that the maximum number of iterations has ended a fit."""
        warn(
            f"Maximum number of iterations {self.max_iter} reached. Increase it to improve convergence.",
            ConvergenceWarning,
        )

    def _transformed(self, table: Table, W: Float | None = None) -> Any:
        """Return W for a table, unless it is known: lazy if X is not in memory, unless `set_output` chooses a frame."""
        found: Any = W
        if found is None and not table.in_memory and table.weights is None:
            found = lazy_rows(table.matrix, Rows(table.in_order(self.components_), self._settings))
        elif found is None:
            found = self._solved(table)[0]
        if _get_output_config("transform", self)["dense"] != "default":
            return np.asarray(found)
        return table.labelled(found, self.get_feature_names_out())

    def _solved(
        self, table: Table, *, kept: bool = True, measured: bool = False, features: NDArray[np.bool] | None = None
    ) -> tuple[Float | None, float]:
        """Return W (n_samples, r) for a table if `kept`, and the loss without penalties if `measured`, in one read.

        With `features`, all other features are replaced by 0.
        """
        source: Source = table.by_rows()
        if features is not None:
            known = table.in_order(features[None].astype(np.float64))[0]
            source = Prepared(source, (Step("idf", "columns", factors=known),))
        layout, held = source.layout, table.in_order(self.components_).T
        settings = self._settings.replace({name: getattr(self, name, None) for name in ("memory_limit", "threads")})
        client = getattr(self, "client", None) or table.client
        with solved(source, lambda: held, settings, client=client, kept=kept, measured=measured) as (room, stats):
            if not kept:
                return None, max(stats.fit, 0.0)
            W = np.empty((layout.shape[1], len(self.components_)), layout.work_dtype)
            for block in range(layout.blocks):
                W[layout.columns(block)] = room.read(block).T
            return W, max(stats.fit, 0.0)

    @property
    def _n_features_out(self) -> int:
        """Number of components, for the names of the output."""
        return len(self.components_)

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> Any:
        """Return the names of the parameters, for which scikit-learn inspects the signature in every fit."""
        return super()._get_param_names()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        missing = getattr(self, "missing", "none")
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = missing != "nan"
        tags.input_tags.allow_nan = missing == "nan"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
