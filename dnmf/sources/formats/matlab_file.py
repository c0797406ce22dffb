"""Variables of MATLAB files: version 5, as written by `save -v7` and `scipy.io.savemat`, and 7.3, which is HDF5.

Variables that are not compressed are read by blocks. A compressed one can only be read as a whole, into memory, if it
is small. Numbers have the type that they are stored in, which may be shorter than the class of the variable.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.base import Axis, Source, check_shape
from dnmf.sources.formats.column_major import is_vector
from dnmf.sources.formats.compressed_sparse import Compressed, CompressedSource
from dnmf.sources.formats.entry_list import check_held
from dnmf.sources.formats.hdf5_file import open_hdf5
from dnmf.sources.formats.matlab_elements import (
    COMPLEX,
    NUMBERS,
    SPARSE,
    WORDS,
    Inflated,
    Stream,
    Variable,
    at_data,
    packed_stream,
    parts_of,
    read_head,
    variables,
)
from dnmf.sources.formats.raw_array import Plain, file_source
from dnmf.sources.memory import SparseSource, array_read, read_into_memory
from dnmf.sources.read_errors import parsing
from dnmf.sources.unfolding import unfolding_of

WHAT = "MATLAB file"
HDF5_SIGNATURE = b"\x89HDF"


def open_matlab(address: Address, streamed: Axis | None = None) -> Source:
    """Open a variable of a MATLAB file; those that are not compressed, and all of version 7.3, are read in place.

    Raises
    ------
    NotInPlace
        If there are several, and the address does not name one; or if it is compressed and too large.
    DataError
        If it is not a MATLAB file, or does not hold the variable.
    """
    path = Path(address.place)
    if is_hdf5(path):
        return open_hdf5(address, streamed)
    variable = chosen(address)
    if not variable.packed:
        return source_at(path, variable, address, streamed)
    shape = variable.shape
    unfolding = None if variable.kind == SPARSE else unfolding_of(shape, address.axes, None, address.array)
    what = f"a compressed variable of {variable.entries} entries"
    facts = f"{' × '.join(map(str, shape))}, compressed MATLAB variable of {variable.entries} entries"
    check_held(address, variable.entries, what, facts, "save it with -v7.3 or -v6, or ")
    with parsing(address, WHAT), open(path, "rb") as file:
        stream = packed_stream(file, variable)
        read_head(stream)
        parts = [stream.values(as_bytes) for as_bytes in parts_of(variable)]
        stream.finish()
        if variable.kind != SPARSE:
            values = parts[0].reshape(shape, order="F")
            return array_read(values, "MATLAB variable", address, streamed, unfolding)
    rows, starts, entries = parts
    matrix = scipy.sparse.csc_array(check_shape(shape, str(address)), dtype=entries.dtype.newbyteorder("="))
    matrix.data, matrix.indices, matrix.indptr = entries, rows, starts
    return read_into_memory(SparseSource(matrix, streamed), "sparse MATLAB variable", str(address))


def is_hdf5(path: Path) -> bool:
    """Return whether a file is of version 7.3: HDF5 behind a header of MATLAB, or without one."""
    with open(path, "rb") as file:
        return any(file.read(4) == HDF5_SIGNATURE for _ in map(file.seek, (0, 512)))


def unpacked(address: Address, folder: Path) -> Source | None:
    """Decompress a variable into a folder and open it there; return None if it can be read in place."""
    path, target = Path(address.place), folder / "unpacked.bin"
    if is_hdf5(path) or not (variable := chosen(address)).packed:
        return None
    with parsing(address, WHAT), open(path, "rb") as file, open(target, "wb") as plain:
        packed: Any = Inflated(at_data(file, variable), variable.size)
        shutil.copyfileobj(packed, plain, 2**20)
    return source_at(target, variable._replace(start=0, packed=False), address)


def source_at(path: Path, variable: Variable, address: Address, streamed: Axis | None = None) -> Source:
    """Open a variable that is not compressed in a file, for the one at an address."""
    with parsing(address, WHAT), open(path, "rb") as file:
        file.seek(variable.start + 8)
        stream = Stream(file, variable.order)
        read_head(stream)
        if variable.kind != SPARSE:
            place = stream.vector(path)
            if place.size != variable.entries:
                raise ValueError(f"{variable.name} has {place.size} numbers, and its head promises {variable.entries}")
        else:
            rows, starts, entries = (stream.vector(path, as_bytes) for as_bytes in parts_of(variable))
            file.seek(starts.offset + (starts.size - 1) * starts.dtype.itemsize)
            used = int(np.frombuffer(stream.take(starts.dtype.itemsize), starts.dtype)[0])
    if variable.kind != SPARSE:
        numbers = Plain(path, place.offset, variable.shape, place.dtype, in_columns=True)
        unfolding = unfolding_of(variable.shape, address.axes, None, address.array)
        kind = "MATLAB variable, read directly"
        return file_source(numbers, kind, str(address), streamed, unfolding=unfolding)
    rows, entries = (part._replace(size=min(part.size, used)) for part in (rows, entries))
    shape = check_shape(variable.shape, str(address))
    stored = Compressed(shape, "columns", entries, rows, starts)
    return CompressedSource(stored, "sparse MATLAB variable", str(address), streamed)


def chosen(address: Address) -> Variable:
    """Return the variable of an address, or the only one that may be meant: neither a scalar nor a vector.

    Raises
    ------
    NotInPlace
        If there are several.
    DataError
        If there is none, or it does not hold real numbers.
    """
    with parsing(address, WHAT):
        found = [variable for variable in variables(Path(address.place)) if variable.name]
    numeric = [variable for variable in found if variable.kind in (SPARSE, *NUMBERS) and 0 not in variable.shape]
    likely = [variable for variable in numeric if not is_vector(variable.shape)] or numeric
    fitting = likely if address.part is None else [variable for variable in found if variable.name == address.part]
    if len(fitting) == 1:
        return _checked(fitting[0], address)
    names = ", ".join(variable.name for variable in numeric)
    what = f"holds {len(likely)} matrices" if address.part is None else f"holds no {address.part}"
    if not numeric:
        raise DataError(f"{address.place} {what}, and no variable of numbers; save one, as by save('V.mat', 'V').")
    sentence = f"{address.place} {what}; give one of its variables: {names}; as {address.of_part(likely[0].name)}"
    raise NotInPlace(sentence, {"holds": names}) if address.part is None else DataError(sentence)


def _checked(variable: Variable, address: Address) -> Variable:
    """Return a variable; DataError if it does not hold real numbers."""
    if variable.kind not in (SPARSE, *NUMBERS):
        word = WORDS.get(variable.kind, "an unknown class")
        raise DataError(f"{address} is of class {word}; give a variable of numbers.")
    if variable.flags & COMPLEX:
        raise DataError(f"{address} holds complex numbers; give real ones of at least 0.")
    return variable
