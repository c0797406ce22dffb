"""What scikit-learn asks of every estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from dnmf import NMF, MiniBatchNMF

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [
    NMF(),
    NMF(solver="mu", max_iter=30),
    NMF(solver="als", max_iter=30),
    NMF(solver="auto"),
    NMF(solver="sketch", max_iter=30),
    NMF(solver="newton", beta_loss="kullback-leibler", max_iter=30),
    NMF(solver="mu", beta_loss=1.5, max_iter=10),
    NMF(missing="nan", max_iter=30),
    MiniBatchNMF(max_iter=30),
    MiniBatchNMF(beta_loss="kullback-leibler", max_iter=30),
]


@parametrize_with_checks(ESTIMATORS)
def test_the_estimators_pass_the_checks(estimator, check):
    check(estimator)
