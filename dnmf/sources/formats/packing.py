"""What the attributes of a variable say of its numbers: that they are packed, or that some of them stand for none."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

PACKED = ("scale_factor", "add_offset", "_Unsigned")
FILLED = ("_FillValue", "missing_value")


def is_packed(attributes: Mapping[str, Any]) -> bool:
    """Say whether the numbers of a variable are others than those that are stored, by the conventions of NetCDF.

    >>> is_packed({"scale_factor": 0.1}), is_packed({"_FillValue": np.nan}), is_packed({"missing_value": [-999]})
    (True, False, True)
    """
    marks = [attributes[name] for name in FILLED if name in attributes]
    return any(name in attributes for name in PACKED) or not all(is_nan(mark) for mark in marks)


def is_nan(mark: Any) -> bool:
    """Say whether a mark of what is missing is NaN, which is missing in any case."""
    if isinstance(mark, str):
        try:
            mark = struct.unpack("<d", base64.standard_b64decode(mark))[0]  # as Zarr 3 holds it
        except (ValueError, struct.error):
            return str(mark).lower() == "nan"
    try:
        return bool(np.all(np.isnan(np.asarray(mark, np.float64))))
    except (TypeError, ValueError):
        return False
