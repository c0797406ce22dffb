"""Sentences about lines of a table that cannot be read, each with the number of its line."""

from collections.abc import Collection, Iterable, Sequence

from dnmf.sources.formats.fields import COMMAS, FLAGS, MISSING, Field, Record, is_number


def first_fault(
    records: Iterable[Record], names: Sequence[str], numeric: Collection[int], separator: str, path: str
) -> str | None:
    """Return what is wrong with the first bad line, and what to do, or None.

    Parameters
    ----------
    records
        Lines of the table.
    names
        Names of all columns.
    numeric
        Positions of the columns that hold numbers.
    separator
        The separator of the fields.
    path
        Path of the file, for advice.
    """
    for line, fields in records:
        fault = _fault(fields, names, numeric, separator, path)
        if fault is not None:
            return f"line {line} {fault}"
    return None


def _fault(
    fields: list[Field], names: Sequence[str], numeric: Collection[int], separator: str, path: str
) -> str | None:
    if any(field.text.startswith('"') and not field.quoted for field in fields):
        return "opens a quoted field and does not close it; write the line breaks of fields as blanks."
    if len(fields) == len(names) + 1 and fields[-1] == Field(""):
        return "ends with a separator, which makes an empty column; remove the separators at the ends of the lines."
    if len(fields) != len(names):
        return (
            f"has {len(fields)} {_fields(len(fields))}, and the first line {len(names)}; complete the line, or put a "
            "field that contains the separator into double quotes."
        )
    bad = [at for at in numeric if not _is_number_or_missing(fields[at].text)]
    if not bad:
        return None
    if len(bad) == len(numeric) > 1 and not any(COMMAS.fullmatch(fields[at].text) for at in bad):
        return f"has texts in all columns of numbers, as {fields[bad[0]].text!r}: a second header line; remove it."
    text = fields[bad[0]].text
    where = f"has {text!r} in its column {names[bad[0]]}"
    if COMMAS.fullmatch(text):
        sep = "" if separator == "," else f", sep={separator!r}"
        thousands, decimal = (f"pandas.read_csv({path!r}{sep}, {word}=',')" for word in ("thousands", "decimal"))
        if separator == "," or text.count(",") > 1:
            return f"{where}; write numbers without separators of thousands, or give {thousands} as V."
        return f"{where}; write numbers with a decimal point, or give {decimal}, or with thousands=',', as V."
    return f"{where}, which holds numbers; a missing number is an empty field or NA."


def _is_number_or_missing(text: str) -> bool:
    return is_number(text) or text.lower() in MISSING or text.lower() in FLAGS


def _fields(count: int) -> str:
    return "field" if count == 1 else "fields"
