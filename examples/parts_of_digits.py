"""Factorise handwritten digits as in a notebook: watch every pass, stop by hand, draw the parts.

    python examples/parts_of_digits.py [parts.png]

Needs `pip install 'dnmf[plot]'`. scikit-learn brings the digits; nothing is downloaded.
"""

import sys

from sklearn.datasets import load_digits

import dnmf
from dnmf.report import draw_parts

digits = load_digits().data.T.astype("uint8")  # 64 pixels × 1797 images: the columns are what is factorised

for result in dnmf.iterate(digits, rank=16, seed=1, max_passes=60):
    record = result.history[-1]
    if record.passes % 10 == 0:
        print(f"pass {record.passes}: relative error {record.relative_error:.4f}, optimality {record.optimality:.1e}")
    if record.optimality < 1e-3:
        break

H = result.H.compute()
weighty = H > 0.05 * H.max(axis=0)  # noqa: SIM300
print(f"an image is made of {weighty.sum(axis=0).mean():.1f} of the 16 parts on average")
picture = sys.argv[1] if len(sys.argv) > 1 else "parts.png"
draw_parts(result.W, (8, 8), picture, "16 parts of handwritten digits")
print(f"the parts are drawn in {picture}")
