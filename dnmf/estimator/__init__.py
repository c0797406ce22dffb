"""scikit-learn estimators: X (n_samples, n_features) ≈ WH with H as `components_`, and W from `transform`.

```
parameters ──► Settings        containers: X of any kind ──► Table ──► results of the same kind
     factorizer: the base class of both ◄── nmf ◄── persistence
                                        ◄── minibatch ◄── batches, convergence
```
"""

from dnmf.estimator.functions import non_negative_factorization
from dnmf.estimator.minibatch import MiniBatchNMF
from dnmf.estimator.nmf import NMF

__all__ = ["NMF", "MiniBatchNMF", "non_negative_factorization"]
