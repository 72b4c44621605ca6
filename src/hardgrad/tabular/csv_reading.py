"""Reading CSV: one type a column, and an error that names the row where a column of numbers turns into text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from hardgrad.core.errors import DataError
from hardgrad.tabular.arrow import check_names

MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL", "NaN", "n/a", "nan",
    "null", "<NA>",
)  # fmt: skip
MOSTLY = 0.9
"""A column of text of which this share are numbers is taken for a column of numbers with a mistake; dates and booleans likewise."""
_TEXT = (pa.string(), pa.binary())
_TYPES = {
    "numbers": r"^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$|^\s*[+-]?(inf|infinity|nan)\s*$",
    "booleans": r"^(true|false)$",
    "dates": r"^\d{4}-\d\d?-\d\d?([ T]\d\d:\d\d.*)?$",
}
_DELIMITERS = ",;\t|"


def read_csv(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    missing: Sequence[str] = (),
    text: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> pa.Table:
    r"""Read a CSV or TSV file with a header line, packed by gzip or not; commas, semicolons, tabs or bars between fields.

    An empty field is missing and so are the usual words (NA, NULL, NaN, ...); a quoted empty field is the empty text.

    Parameters
    ----------
    path, columns, missing, text : see `hardgrad.tabular.read_table`.
    names : column names of a file that has no header line.

    Raises
    ------
    DataError : see `hardgrad.tabular.read_table`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
    >>> _ = path.write_text("age;name\n31;Ann\n;Bob\n")
    >>> read_csv(path).to_pydict()
    {'age': [31, None], 'name': ['Ann', 'Bob']}
    """
    from hardgrad.tabular.reading import require_columns

    delimiter, header = _header(path)
    present = header if names is None else list(names)
    check_names(present)
    wanted = present if columns is None else list(columns)
    require_columns([*wanted, *(name for name in text if columns is None)], present, str(path))
    found = _read(path, delimiter, names, wanted, text, (*MISSING, *missing))
    arrays = [
        _numbers_or_text(path, name, found[name])
        if found[name].type in _TEXT and name not in text
        else found[name]
        for name in wanted
    ]
    return pa.table(arrays, names=wanted)


def _header(path: Path) -> tuple[str, list[str]]:
    """The character between fields and the column names."""
    with pa.input_stream(str(path), compression="detect") as stream:
        try:
            head = stream.read(1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be unpacked: {error}. Write it again.") from None
    if b"\0" in head[:4096]:
        raise DataError(f"{path} is no text file. Expected CSV in UTF-8; check its name, or convert it.")
    line = head.partition(b"\n")[0].decode("utf-8", errors="replace").lstrip("\ufeff")
    if not line.strip():
        raise DataError(f"{path} has an empty first line. Expected the column names.")
    bare = re.sub(r'"[^"]*"', "", line)
    delimiter = max(_DELIMITERS, key=lambda character: (bare.count(character), -_DELIMITERS.index(character)))
    if path.name.lower().endswith((".tsv", ".tsv.gz")):
        delimiter = "\t"
    try:
        options = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        # The header alone may end within a quoted name: let the reader find where.
        with pacsv.open_csv(pa.BufferReader(_whole_lines(head)), parse_options=options) as reader:
            return delimiter, list(reader.schema.names)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise _unreadable(path, error) from None


def _whole_lines(head: bytes) -> bytes:
    """Enough of the file to hold the header; the reader needs no more."""
    cut = head.find(b"\n", 0)
    while cut >= 0 and head[: cut + 1].count(b'"') % 2:
        cut = head.find(b"\n", cut + 1)
    return head[: cut + 1] if cut >= 0 else head


def _read(
    path: Path,
    delimiter: str,
    names: Sequence[str] | None,
    wanted: list[str],
    text: Sequence[str],
    missing: Sequence[str],
) -> pa.Table:
    options = pacsv.ConvertOptions(
        null_values=list(missing),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        include_columns=wanted,
        column_types=dict.fromkeys(text, pa.string()),
        # Where semicolons part the fields, commas stand in numbers; numbers with points are found later, as text.
        decimal_point="," if delimiter == ";" else ".",
    )
    try:
        return pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(
                block_size=1 << 24, column_names=None if names is None else list(names)
            ),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=options,
        )
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    if "UTF" in reason or isinstance(error, UnicodeDecodeError):
        return DataError(f"{path} is not UTF-8 text: {reason}. Save it as UTF-8.")
    return DataError(
        f"{path} cannot be read as CSV: {reason}. Every line needs as many fields as there are column names."
    )


def _numbers_or_text(path: Path, name: str, column: Any) -> Any:
    """A column of text as numbers where all of it is numbers; an error where nearly all of it is of another type."""
    present = len(column) - column.null_count
    if not pa.types.is_string(column.type):
        raise DataError(f"{path} is not UTF-8 text in column {name!r}. Save it as UTF-8.")
    for what, pattern in _TYPES.items():
        matches = pc.match_substring_regex(column, pattern, ignore_case=True)
        count = pc.sum(matches).as_py() or 0
        if what == "numbers" and count == present > 0:
            return _cast_numbers(column)
        if MOSTLY * present <= count < present:
            row = pc.index(matches.fill_null(True), False).as_py()
            value = column[row].as_py()
            raise DataError(
                f"column {name!r} mixes types: row {row} (counting from 0 below the header) holds {value!r}, while {count:,} of "
                f"{present:,} rows hold {what}. Correct it, pass missing=[{value!r}] if it means missing, or text=[{name!r}] to keep "
                "the column text."
            )
    return column


def _cast_numbers(column: Any) -> Any:
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")
    whole = pc.all(pc.match_substring_regex(trimmed, r"^-?\d{1,18}$")).as_py()
    return pc.cast(trimmed, pa.int64() if whole else pa.float64())
