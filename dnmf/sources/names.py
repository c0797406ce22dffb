"""What the rows and the columns of a matrix are called, where whoever made it gave them names."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError

# About what a name takes in memory: a text of some twenty letters, and the place in the array that leads to it.
NAME_BYTES = 80


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Names along both axes of the matrix that the user gave: by custom, rows are samples and columns are features.

    Attributes
    ----------
    rows, columns
        One text for each (m,) and (n,), or None where the axis has no names.

    Examples
    --------
    >>> Names.of(None, ["red", "green"]).columns.tolist()
    ['red', 'green']
    """

    rows: NDArray[Any] | None = None
    columns: NDArray[Any] | None = None

    @classmethod
    def of(cls, rows: Iterable[Any] | str | Path | None, columns: Iterable[Any] | str | Path | None) -> Self:
        """Return the names that are given as anything that can be told as texts, or as the path of a file of them.

        A file has a name on every line, or is a list in JSON.

        Raises
        ------
        DataError
            If a file cannot be read.
        """
        return cls(_texts(rows), _texts(columns))

    def __bool__(self) -> bool:
        return self.rows is not None or self.columns is not None

    @property
    def held_bytes(self) -> int:
        """About what the names take in memory."""
        return NAME_BYTES * sum(len(names) for names in (self.rows, self.columns) if names is not None)

    def filled(self, others: "Names") -> Self:
        """Return the names, with those of others for an axis that has none."""
        return dataclasses.replace(
            self,
            rows=others.rows if self.rows is None else self.rows,
            columns=others.columns if self.columns is None else self.columns,
        )

    def checked(self, shape: tuple[int, int]) -> Self:
        """Return the names, or raise DataError where there are not as many as the axis is long."""
        for names, size, axis in ((self.rows, shape[0], "rows"), (self.columns, shape[1], "columns")):
            if names is not None and len(names) != size:
                raise DataError(f"V has {size} {axis} and {len(names)} names for them; give one name for each.")
        return self


NO_NAMES = Names()


def _texts(given: Iterable[Any] | str | Path | None) -> NDArray[Any] | None:
    if given is None:
        return None
    names = _read(Path(given)) if isinstance(given, (str, Path)) else given
    return np.array([_text(name) for name in names], dtype=object)


def _text(name: Any) -> str:
    """Return a name as a text that can be written anywhere.

    >>> _text(b"na\\xc3\\xafve"), _text("\\udcff"), _text(7)
    ('naïve', '\\\\udcff', '7')
    """
    if isinstance(name, bytes):
        return name.decode(errors="backslashreplace")
    return str(name).encode(errors="backslashreplace").decode()


def _read(path: Path) -> list[Any]:
    """Return the names in a file."""
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
        if not isinstance(names, list) or not all(isinstance(name, (str, int, float)) for name in names):
            raise ValueError("it is no list of texts")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"The names in {path} cannot be read ({reason}); give a text file with a name on every line, a .json file "
            "with a list of them, or the names themselves."
        ) from error
    return names
