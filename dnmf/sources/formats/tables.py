"""Tables: CSV and other separated texts, Parquet, and tables of pyarrow, read as dense matrices or lists of entries."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.sources.addresses import Address
from dnmf.sources.base import Axis, Source, relabelled
from dnmf.sources.formats.arrow_tables import ArrowTable, Parquet
from dnmf.sources.formats.dense_tables import DenseTable, held_dense, read_dense
from dnmf.sources.formats.entry_list import held
from dnmf.sources.formats.table_advice import no_columns
from dnmf.sources.formats.table_entries import TableEntries
from dnmf.sources.formats.table_files import CSV_BYTES, SAMPLE_BYTES, Csv, Table, is_numeric
from dnmf.sources.formats.table_parts import asked_by
from dnmf.sources.formats.table_reading import Dense, reading_of, usual_columns
from dnmf.sources.memory import ArraySource, read_into_memory
from dnmf.sources.names import Names

ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".tab", ".txt", ".dat", ".data")


def read_table(
    address: Address, *, batch_bytes: int = CSV_BYTES, sample_bytes: int = SAMPLE_BYTES
) -> TableEntries | DenseTable:
    """Look into a table, and decide how it is read.

    Raises
    ------
    DataError
        If that is not certain, with the addresses that settle it.
    """
    path = Path(address.place)
    try:
        asked = asked_by(address.part)
    except ValueError:
        asked = None
    table: Table
    if _is_parquet(path):
        table = Parquet(path)
    else:
        words = [] if asked is None else [word.text for word in asked.columns[-1:]]
        table = Csv(path, None if asked is None else asked.header, words, batch_bytes, sample_bytes)
    if asked is None:
        raise no_columns(table, str(address))
    reading = reading_of(table, asked, str(address))
    return DenseTable(table, reading, address) if isinstance(reading, Dense) else TableEntries(table, reading, address)


def open_table(address: Address, streamed: Axis | None = None) -> Source:
    """Open a table that is small enough to be read into memory.

    Raises
    ------
    NotInPlace
        If it is larger.
    """
    table = read_table(address)
    if isinstance(table, TableEntries):
        return held(table, streamed)
    values, names = held_dense(table)
    source = ArraySource(values, streamed)
    return read_into_memory(source, table.described, str(address), names.checked(values.shape))


def open_arrow(V: Any, streamed: Axis | None = None) -> Source:
    """Open a table of pyarrow in memory as a dense matrix."""
    values, names, kind = read_arrow(V)
    return relabelled(ArraySource(values, streamed), names=names, kind=kind)


def read_arrow(V: Any) -> tuple[NDArray[Any], Names, str]:
    """Return a table of pyarrow as a dense matrix, with its names and a description.

    The index of pandas, or a first column of texts, holds the names of the rows.

    Raises
    ------
    DataError
        If another column holds no numbers, or the columns are those of entries.
    """
    table = ArrowTable(V)
    if usual_columns(table) is not None:
        raise DataError(
            "V is a pyarrow Table whose columns are those of a list of entries; write it with "
            "pyarrow.parquet.write_table, and give the path."
        )
    text = bool(table.columns) and table.columns[0].kind == "text"
    names = table.index[0] if len(table.index) == 1 else 0 if text else None
    numbers = tuple(at for at in range(len(table.columns)) if at != names)
    wrong = [table.columns[at].name for at in numbers if not is_numeric(table.columns[at])]
    if wrong or not numbers:
        raise DataError(
            f"V is a pyarrow Table whose column(s) {', '.join(wrong[:5])} hold no numbers; drop them, as by "
            "V.drop_columns(…)."
        )
    dense = DenseTable(table, Dense(numbers, names), Address("V"))
    values, labels = read_dense(dense)
    return values, labels.checked(values.shape), dense.what


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq") or path.is_dir()
