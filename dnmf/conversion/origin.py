"""Open the origin of a conversion: a matrix, or a list of entries of any length."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnmf.checkpoint import working_folder
from dnmf.sources.addresses import Address
from dnmf.sources.base import Source, relabelled
from dnmf.sources.collection import collection_in
from dnmf.sources.file_kinds import Opener, opener_of
from dnmf.sources.formats.dense_tables import unpack_dense
from dnmf.sources.formats.entry_list import Entries
from dnmf.sources.formats.matlab_file import open_matlab
from dnmf.sources.formats.matlab_file import unpacked as unpacked_variable
from dnmf.sources.formats.matrix_market import Market, MarketArray, MarketEntries, open_market
from dnmf.sources.formats.matrix_market import unpacked as unpacked_array
from dnmf.sources.formats.npz_file import NpzEntries, is_sparse, kind_of, open_npz, unpacked, unpacked_dense
from dnmf.sources.formats.raw_array import open_raw
from dnmf.sources.formats.svmlight_file import SvmlightEntries, open_svmlight
from dnmf.sources.formats.table_entries import TableEntries
from dnmf.sources.formats.tables import open_table, read_table
from dnmf.sources.formats.tenx_folder import TenxEntries, open_tenx
from dnmf.sources.formats.tiff_file import open_tiff
from dnmf.sources.formats.tiff_file import unpacked as unpacked_page
from dnmf.sources.opening import check_axes_used, open_matrix
from dnmf.sources.read_errors import reading_part
from dnmf.sources.readable import check_readable
from dnmf.storage.urls import is_url


@contextmanager
def open_origin(V: Any, target: str | Path) -> Iterator[tuple[Source | Entries, Path]]:
    """Open the origin of a conversion, and make a folder for temporary files on the disk of the target.

    Unlike `open_matrix`, it takes lists of entries of any length, and unpacks compressed files.
    """
    several = isinstance(V, (str, Path)) and collection_in(V) is not None
    address = Address.of(V) if isinstance(V, (str, Path)) and not several else None
    opener = None
    if address is not None and not is_url(address.place):
        check_readable(Path(address.place), str(V))
        opener = opener_of(Path(address.place), address.part)
    with working_folder(target) as folder:
        listed = None
        if address is not None and opener is not None and (address.axes is None or _has_axes(opener, address)):
            with reading_part(str(address), str(address)):
                listed = _open_listed(opener, address, folder)
            if address.axes is not None and isinstance(listed, Source):
                check_axes_used(listed, address.axes)
        yield listed or open_matrix(V), folder


# Lists of entries, which are sorted on the disk.
LISTS: dict[Opener, Callable[[Address], Entries]] = {
    open_tenx: TenxEntries,
    open_svmlight: SvmlightEntries,
}


# Files that must be unpacked if they are compressed.
UNPACKERS: dict[Opener, Callable[[Address, Path], Source | None]] = {
    open_matlab: unpacked_variable,
    open_tiff: unpacked_page,
}


def _has_axes(opener: Opener, address: Address) -> bool:
    """Return whether a file that may have to be unpacked holds an array, whose axes an address can choose."""
    return opener in UNPACKERS or (opener is open_npz and not is_sparse(address))


def _open_listed(opener: Opener, address: Address, folder: Path) -> Source | Entries | None:
    """Open a list of entries, or a file that must be unpacked; return None for any other origin."""
    if opener in LISTS:
        return LISTS[opener](address)
    if opener is open_table:
        table = read_table(address)
        if isinstance(table, TableEntries):
            return table
        numbers, names = unpack_dense(table, folder)
        return relabelled(open_raw(numbers), names=names)
    if opener is open_market:
        coordinates = Market(address).form == "coordinate"
        return MarketEntries(address) if coordinates else open_raw(unpacked_array(MarketArray(address), folder))
    if opener in UNPACKERS:
        return UNPACKERS[opener](address, folder)
    if opener is open_npz and not is_sparse(address):
        return unpacked_dense(address, folder)
    if opener is open_npz:
        kind, packed, _ = kind_of(address)
        address = unpacked(address, folder) if packed else address
        return NpzEntries(address) if kind == "coo" else open_npz(address)
    return None
