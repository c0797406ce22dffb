"""Attributes of variables by which numbers are packed, or mark missing entries."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

PACKED = ("scale_factor", "add_offset", "_Unsigned")
FILLED = ("_FillValue", "missing_value")


def is_packed(attributes: Mapping[str, Any]) -> bool:
    """Return whether the numbers of a variable differ from the stored ones, by the conventions of NetCDF.

    >>> is_packed({"scale_factor": 0.1}), is_packed({"_FillValue": np.nan}), is_packed({"missing_value": [-999]})
    (True, False, True)
    """
    marks = [attributes[name] for name in FILLED if name in attributes]
    return any(name in attributes for name in PACKED) or not all(is_nan(mark) for mark in marks)


def is_nan(mark: Any) -> bool:
    """Return whether a mark of missing entries is NaN, which needs no decoding."""
    if isinstance(mark, str):
        try:
            mark = struct.unpack("<d", base64.standard_b64decode(mark))[0]  # the encoding of Zarr 3
        except (ValueError, struct.error):
            return str(mark).lower() == "nan"
    try:
        return bool(np.all(np.isnan(np.asarray(mark, np.float64))))
    except (TypeError, ValueError):
        return False
