"""Estimators for scikit-learn: X (samples × features) ≈ WH is V ≈ WH, with `components_` H, and `transform` gives W.

```
parameters ──► Settings        containers: what is given as X ──► Table ──► what is returned for it
     factorizer: what both estimators share ◄── nmf ◄── storing
                                            ◄── minibatch ◄── online, batches
```
"""

from dnmf.estimator.functions import non_negative_factorization
from dnmf.estimator.minibatch import MiniBatchNMF
from dnmf.estimator.nmf import NMF

__all__ = ["NMF", "MiniBatchNMF", "non_negative_factorization"]
