"""Sketch and correct: passes over V alternate with the factorisation of a surrogate of V, which reads nothing.

```
first pass    R = QᵀV, Y = VRᵀ                              V̂ = QR + (I − QQᵀ) Y (RRᵀ)⁺ R
later passes  H from W, A = VHᵀ, B = HHᵀ, R = QᵀV, W ∈ Q     V̂ = QR + (I − QQᵀ) A B⁺ H
between       V̂ ≈ WH, some dozen updates of both
```

The first surrogate is the single-pass low-rank approximation of Tropp, Yurtsever, Udell & Cevher 2017, with a basis Q
from some columns of V. The later ones are exact to first order: at the W and H of the pass, WᵀV̂ = WᵀV and V̂Hᵀ = VHᵀ, so
that a stationary point of V̂ is one of V. The next pass accepts the W of a surrogate if it lowers the loss, and rejects
it otherwise.
"""

from dnmf.solvers.sketch.basis import PILOT_BYTES, basis_of, left_over, lifted, pilot, pilot_bytes
from dnmf.solvers.sketch.effort import WIDTH
from dnmf.solvers.sketch.method import corrected, exceeded, fits, low_rank, pays, sketch_load, sketched, starts
from dnmf.solvers.sketch.passes import Sketch, SketchSums
from dnmf.solvers.sketch.samples import SAMPLE, represents, squares, stride_of
from dnmf.solvers.sketch.scaled import ScaledBasis, ScaledSketch
from dnmf.solvers.sketch.singular import leading_vectors, split_vectors, squares_of_parts
from dnmf.solvers.sketch.surrogate import Surrogate

__all__ = [
    "PILOT_BYTES",
    "SAMPLE",
    "WIDTH",
    "ScaledBasis",
    "ScaledSketch",
    "Sketch",
    "SketchSums",
    "Surrogate",
    "basis_of",
    "corrected",
    "exceeded",
    "fits",
    "leading_vectors",
    "left_over",
    "lifted",
    "low_rank",
    "pays",
    "pilot",
    "pilot_bytes",
    "represents",
    "sketch_load",
    "sketched",
    "split_vectors",
    "squares",
    "squares_of_parts",
    "starts",
    "stride_of",
]
