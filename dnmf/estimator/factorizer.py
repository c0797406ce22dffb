"""What the estimators share: how they are fitted, W of new data, and X of W."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from dnmf.errors import DataWarning, warn
from dnmf.estimator.containers import Table, as_product, lazy_rows, opened
from dnmf.estimator.parameters import settings_by_hand
from dnmf.estimator.rows import Rows
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.steps import Step
from dnmf.run.transform import solved
from dnmf.settings import Settings
from dnmf.sources import Source
from dnmf.sources.prepared import Prepared

INFINITE = float("inf")


class Factorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """An estimator that has `components_`, and `_settings` by which rows of W are solved for.

    `components_` may also be set by hand, in place of a fit: all but `fit` and `partial_fit` then use the parameters.
    """

    max_iter: int
    components_: Float
    _settings: Settings
    _by_hand = False

    @own_errors
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, W: Any = None, H: Any = None) -> Self:
        """Learn H of the data.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            A NumPy array, a SciPy CSR or CSC matrix, a pandas or polars frame, a Dask array or frame, an xarray
            DataArray, an AnnData, a `zarr.Array`, or the address of whatever `dnmf.factorize` opens. What is lazy, or
            lies in a file, is streamed.
        y : None
            Not used.
        W, H : arrays of shape (n_samples, n_components) and (n_components, n_features)
            Where to start with `init="custom"`; they are not changed. `MiniBatchNMF` solves for W of every batch, and
            uses none.

        Returns
        -------
        self : NMF or MiniBatchNMF
            The estimator.
        """
        self._fit(X, W, H)
        return self

    @own_errors
    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None, W: Any = None, H: Any = None) -> Any:
        """Learn H of the data and return W: what `fit(X).transform(X)` returns, to the last bit.

        Parameters
        ----------
        X, y, W, H
            As for `fit`.

        Returns
        -------
        W : of shape (n_samples, n_components)
            As from `transform`.
        """
        table, W = self._fit(X, W, H)
        return self._transformed(table, W)

    @own_errors
    def transform(self, X: Any) -> Any:
        """Return W of the rows of X, with `components_` held.

        Every row is solved by itself, with the penalties of the fit: exactly for the Frobenius loss, and for
        `missing`; to convergence, as nearly, for the others. Nothing of it depends on the solver of the fit.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            Of any kind that `fit` takes.

        Returns
        -------
        W : of shape (n_samples, n_components)
            A NumPy array, or what `set_output` asks for. A lazy Dask array with the chunks of X's rows, of which
            nothing is computed here, for a Dask array or frame, and for a path. A DataArray for a DataArray.
        """
        self._check_ready()
        return self._transformed(opened(self, X, reset=False, lengths=False))

    @own_errors
    def inverse_transform(self, X: Any) -> Any:
        """Return the data that W stands for.

        Parameters
        ----------
        X : of shape (n_samples, n_components)
            W: an array or a sparse matrix, a Dask array, or a DataArray.

        Returns
        -------
        X_original : of shape (n_samples, n_features)
            WH, of the same kind.
        """
        self._check_ready()
        return as_product(X, self.components_, getattr(self, "feature_names_in_", None))

    @own_errors
    def score(self, X: Any, y: Any = None) -> float:
        """Return how well `components_` describe X: minus the mean divergence of a sample from its WH.

        As for scikit-learn's other decompositions, more is better, and the number of samples does not matter. It
        compares losses, penalties or starts at one number of components. It cannot choose that number: W is solved for
        with all entries of X, so that more components nearly always score higher, on new samples too;
        `dnmf.select_rank` holds out entries and can.

        For β ≤ 1, such as Kullback–Leibler, the divergence is infinite where X has data of a feature that is 0 in all
        components, as a word that no sample of the fit has. Such features are left out, with a warning.

        Parameters
        ----------
        X : of shape (n_samples, n_features)
            Of any kind that `fit` takes; it is read once, block by block, and again where features are left out.
        y : None
            Not used.

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
        table = opened(self, X, reset=False)
        loss = self._solved(table, kept=False, measured=True)[1]
        if not np.isfinite(loss):
            loss = self._finite(table)
        return -loss / table.shape[0]

    def _finite(self, table: Table) -> float:
        """Return the loss of X without the features that are 0 in all components, for which it is infinite; warn."""
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
            f"{lost} of {features} features are 0 in components_, and X has data of some, for which the divergence is "
            "infinite; the score leaves these features out. Fit to data with them, drop them, or choose a beta_loss "
            "above 1.",
            DataWarning,
        )
        return self._solved(table, kept=False, measured=True, features=known)[1]

    def _check_ready(self) -> None:
        """See that there are `components_`; where they were set and not fitted, the parameters say how to use them."""
        check_is_fitted(self)
        if not hasattr(self, "_settings") or self._by_hand:
            self._validate_params()
            self._settings, self._by_hand = settings_by_hand(self), True
            self.components_ = np.asarray(self.components_)
            self.n_features_in_ = self.components_.shape[1]

    @abstractmethod
    def _fit(self, X: Any, W: Any, H: Any) -> tuple[Table, Float | None]:
        """Fit, and return the data as they were opened, and their W where they are in memory."""

    def _warn_of_end(self) -> None:
        """Warn that the iterations allowed have ended a fit."""
        warn(
            f"Maximum number of iterations {self.max_iter} reached. Increase it to improve convergence.",
            ConvergenceWarning,
        )

    def _transformed(self, table: Table, W: Float | None = None) -> Any:
        """Return W for a table, where it is not known already: lazy where the table is, unless a frame is asked for."""
        found: Any = W
        if found is None and table.lazy:
            found = lazy_rows(table.matrix, Rows(table.in_order(self.components_), self._settings))
        elif found is None:
            found = self._solved(table)[0]
        if _get_output_config("transform", self)["dense"] != "default":
            return np.asarray(found)
        return table.labelled(found, self.get_feature_names_out())

    def _solved(
        self, table: Table, *, kept: bool = True, measured: bool = False, features: NDArray[np.bool] | None = None
    ) -> tuple[Float | None, float]:
        """Return W (n_samples, r) for a table, and the loss without penalties, where it is asked for; one read.

        Given `features`, the others are taken as 0.
        """
        source: Source = table.by_rows()
        if features is not None:
            known = table.in_order(features[None].astype(np.float64))[0]
            source = Prepared(source, (Step("idf", "columns", factors=known),))
        layout, held = source.layout, table.in_order(self.components_).T
        settings = self._settings.replace({"memory_limit": getattr(self, "memory_limit", None)})
        with solved(source, lambda: held, settings, client=table.client, kept=kept, measured=measured) as (room, stats):
            if not kept:
                return None, max(stats.fit, 0.0)
            W = np.empty((layout.shape[1], len(self.components_)), layout.work_dtype)
            for block in range(layout.blocks):
                W[layout.columns(block)] = room.read(block).T
            return W, max(stats.fit, 0.0)

    @property
    def _n_features_out(self) -> int:
        """How many names there are to be."""
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        missing = getattr(self, "missing", "none")
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = missing != "nan"
        tags.input_tags.allow_nan = missing == "nan"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
