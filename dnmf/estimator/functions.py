"""NMF as a function of scikit-learn."""

from typing import Any

from dnmf.aliases import names_options
from dnmf.errors import warn
from dnmf.estimator.nmf import NMF


@names_options()
def non_negative_factorization(
    X: Any,
    W: Any = None,
    H: Any = None,
    n_components: Any = "auto",
    *,
    init: str | None = None,
    update_H: bool = True,
    solver: str = "cd",
    beta_loss: str | float = "frobenius",
    tol: float = 1e-4,
    max_iter: int = 200,
    alpha_W: float = 0.0,
    alpha_H: Any = "same",
    l1_ratio: float = 0.0,
    random_state: Any = None,
    verbose: int = 0,
    shuffle: bool = False,
) -> tuple[Any, Any, int]:
    """Factorise X ≈ WH; `NMF` as a function of scikit-learn.

    Parameters
    ----------
    X : of shape (n_samples, n_features)
        Data of any kind that `NMF.fit` takes.
    W, H : arrays of shape (n_samples, n_components) and (n_components, n_features)
        Initial factors for `init="custom"`; with `update_H=False`, H is held fixed. They are not changed, and may have
        another float dtype than X.
    update_H : bool
        Whether to learn H too; otherwise W is solved for row by row, in one read.
    n_components, init, solver, beta_loss, tol, max_iter, alpha_W, alpha_H, l1_ratio, random_state, verbose, shuffle
        As in `NMF`.

    Returns
    -------
    W : of shape (n_samples, n_components)
    H : array of shape (n_components, n_features)
    n_iter : int
        Number of iterations.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 3]])
    >>> W, H, n_iter = non_negative_factorization(X, n_components=2, random_state=0)
    >>> bool(np.allclose(W @ H, X, atol=1e-2))
    True
    >>> again, same, _ = non_negative_factorization(X, H=H, update_H=False)
    >>> bool(np.allclose(again, W)), same is H
    (True, True)
    """
    model = NMF(
        n_components,
        init=init,
        solver=solver,
        beta_loss=beta_loss,
        tol=tol,
        max_iter=max_iter,
        random_state=random_state,
        alpha_W=alpha_W,
        alpha_H=alpha_H,
        l1_ratio=l1_ratio,
        verbose=verbose,
        shuffle=shuffle,
    )
    if update_H:
        return model.fit_transform(X, W=W, H=H), model.components_, model.n_iter_
    if W is not None:
        warn("When update_H=False, the provided initial W is not used.", RuntimeWarning)
    W = model._with_components(X, H)
    return W, H if hasattr(H, "shape") else model.components_, 1
