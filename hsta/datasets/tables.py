"""Annotation files as distributed: xlsx, xls and csv, read into rows of named cells, safely and without guessing.

What a file is follows from its first bytes, not from its name. Sizes are bounded before anything is unpacked, rows and
columns while they are read, so that a hostile workbook costs an error and not the machine's memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time

from hsta import storage
from hsta.datasets.xls import read_xls
from hsta.errors import InputError

MAX_FILE_BYTES = 64_000_000
MAX_UNPACKED_BYTES = 64_000_000  # the largest annotation file in use unpacks to about 2 MB
MAX_ROWS = 200_000
MAX_COLUMNS = 512
_HEADER_WITHIN = 60  # rows
_RESAVE = "open it in a spreadsheet program and save it again, as xlsx or as CSV in UTF-8"

Cell = str | int | float | bool | date | time | None


@dataclass(frozen=True, slots=True)
class Unevaluated:
    """A formula that was saved without its result."""

    formula: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet's name and its rows; row k of the file is ``rows[k - 1]``."""

    name: str
    rows: tuple[tuple, ...]


@dataclass(frozen=True, slots=True)
class Workbook:
    """A file's sheets in order, and the SHA-256 of its bytes."""

    url: str
    sheets: tuple[Sheet, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: where it stands, for messages, and its cells by field."""

    where: str
    cells: Mapping[str, object]

    def __getitem__(self, field: str) -> Cell:
        """The cell of a field; None where the table has no such column. Raises InputError for a formula without a
        result."""
        value = self.cells.get(field)
        if isinstance(value, Unevaluated):
            raise InputError(
                f"column {field} is a formula without a stored result: {value.formula[:80]}",
                where=self.where,
                cure="open the file in a spreadsheet program, let it calculate, and save it",
            )
        return value

    def text(self, field: str) -> str:
        """The cell as text without blanks around it; "" where it is empty; whole numbers without a decimal point."""
        return as_text(self[field])

    def replaced(self, **cells: Cell) -> Row:
        """The row with other cells."""
        return replace(self, cells={**self.cells, **cells})


@dataclass(frozen=True, slots=True)
class Table:
    """The data rows of one sheet.

    Attributes:
        fields: those of the fields asked for whose columns are there.
        rows: rows that fill at least half of the required fields; ``notes`` counts others that are not blank, such as
            remarks below the table.
    """

    url: str
    sheet: str
    sha256: str
    fields: frozenset[str]
    rows: tuple[Row, ...]
    notes: int


def as_text(cell: object) -> str:
    """A cell as text without blanks around it; None is "", 3.0 is "3"."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def as_integer(cell: object) -> int | None:
    """A cell as a whole number, stored as number or as text; None where it is neither."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int):
        return cell
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else None
    text = as_text(cell)
    return int(float(text)) if re.fullmatch(r"-?[0-9]{1,12}(\.0+)?", text) else None


def normalised(name: object) -> str:
    """A column's or sheet's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", as_text(name).casefold())


def read_workbook(url: str) -> Workbook:
    """Read all sheets of an xlsx, xls or csv file. Formulas give their stored results.

    Raises:
        InputError: missing, too large, protected, damaged, of another kind, or CSV that is not UTF-8.
    """
    try:
        data = _read_bounded(url)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError("the annotation file is not there", where=url, cure="check the path") from None
    except (ValueError, OSError) as error:
        raise InputError(f"cannot be read: {error}", where=url, cure="check the path and the access rights") from None
    if data[:4] == b"PK\x03\x04":
        sheets = _read_xlsx(data, url)
    elif data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        sheets = _read_xls(data, url)
    else:
        sheets = [Sheet("csv", _read_csv(data, url))]
    return Workbook(url, tuple(sheets), hashlib.sha256(data).hexdigest())


def find_table(
    workbook: Workbook,
    required: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]] | None = None,
    *,
    sheet: str = "",
) -> Table:
    """The table whose header names all required columns, wherever it starts, preferably in ``sheet``.

    Args:
        required, optional: column names that are accepted for each field; case, blanks and punctuation do not count.

    Raises:
        InputError: no sheet has such a header; the message lists what is missing from the best one.
    """
    optional = optional or {}
    wanted = normalised(sheet)
    ordered = sorted(
        workbook.sheets, key=lambda one: (normalised(one.name) != wanted, wanted not in normalised(one.name))
    )
    best: tuple[int, str, list[str], tuple] = (-1, "", [], ())
    for candidate in ordered:
        for number, cells in enumerate(candidate.rows[:_HEADER_WITHIN]):
            places = _places(cells, {**required, **optional})
            missing = [field for field in required if field not in places]
            if not missing:
                return _table(workbook, candidate, places, number + 1, required)
            if len(required) - len(missing) > best[0]:
                best = (len(required) - len(missing), candidate.name, missing, cells)
    _, name, missing, cells = best
    seen = ", ".join(as_text(cell)[:40] for cell in cells[:20] if as_text(cell)) or "nothing"
    raise InputError(
        f"no header with the columns {', '.join(names[0] for names in required.values())}; the nearest row"
        f"{f' of sheet {name!r}' if name else ''} lacks {', '.join(missing or required)} and has {seen}",
        where=workbook.url,
        cure="give the annotation file as the data set's owner distributes it",
    )


def headless_table(workbook: Workbook, sheet: Sheet, fields: Sequence[str], *, skip: int = 0) -> Table:
    """A table without a header: fields by position, from row ``skip`` + 1 on."""
    places = {field: place for place, field in enumerate(fields)}
    return _table(workbook, sheet, places, skip, fields)


def _table(workbook: Workbook, sheet: Sheet, places: Mapping[str, int], first: int, required: Iterable[str]) -> Table:
    required = list(required)
    rows, notes = [], 0
    for number, cells in enumerate(sheet.rows[first:], start=first + 1):
        values = {field: cells[place] if place < len(cells) else None for field, place in places.items()}
        filled = sum(as_text(values[field]) != "" for field in required)
        if filled >= max(min(2, len(required)), len(required) / 2):
            rows.append(Row(f"{workbook.url}, sheet {sheet.name}, row {number}", values))
        elif any(as_text(cell) for cell in cells):
            notes += 1
    if not rows:
        raise InputError(
            "the table has no data row", where=f"{workbook.url}, sheet {sheet.name}", cure="check the file"
        )
    return Table(workbook.url, sheet.name, workbook.sha256, frozenset(places), tuple(rows), notes)


def _places(cells: Sequence, fields: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Column number by field; the first column of a name counts."""
    by_name: dict[str, int] = {}
    for place, cell in enumerate(cells):
        if isinstance(cell, str):
            by_name.setdefault(normalised(cell), place)
    places = {}
    for field, names in fields.items():
        found = next((by_name[normalised(name)] for name in names if normalised(name) in by_name), None)
        if found is not None:
            places[field] = found
    return places


def _read_bounded(url: str) -> bytes:
    fs, path = storage.filesystem(url)
    with fs.open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"has more than {MAX_FILE_BYTES:,} bytes", where=url, cure="this is no annotation file; check the path"
        )
    return data


def _read_xlsx(data: bytes, url: str) -> list[Sheet]:
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            if size > MAX_UNPACKED_BYTES or len(parts) > 2000:
                raise InputError(
                    f"unpacks to {size:,} bytes in {len(parts)} parts; the most is {MAX_UNPACKED_BYTES:,}",
                    where=url,
                    cure=_RESAVE,
                )
            for part in parts:
                if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part):
                    raise InputError(f"holds a document type definition in {part.filename}", where=url, cure=_RESAVE)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # openpyxl warns of validation rules and styles that it leaves out; no value is lost
            books = [
                openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=stored) for stored in (True, False)
            ]
            sheets = []
            for stored, formulas in zip(books[0].worksheets, books[1].worksheets, strict=True):
                stored.reset_dimensions()
                formulas.reset_dimensions()
                rows = zip(stored.iter_rows(values_only=True), formulas.iter_rows(values_only=True), strict=True)
                sheets.append(Sheet(stored.title, _bounded((_merged(*pair) for pair in rows), url, stored.title)))
            return sheets
    except InputError:
        raise
    except Exception as error:  # whatever the parsers make of a damaged file
        raise InputError(f"is not a readable xlsx file: {_said(error)}", where=url, cure=_RESAVE) from None


def _merged(stored: Sequence, formulas: Sequence) -> tuple:
    """Stored results, and `Unevaluated` where there is a formula without one."""
    return tuple(
        Unevaluated(formula) if value is None and isinstance(formula, str) and formula.startswith("=") else value
        for value, formula in zip(stored, formulas, strict=True)
    )


def _read_xls(data: bytes, url: str) -> list[Sheet]:
    try:
        sheets = read_xls(data, max_rows=MAX_ROWS, max_columns=MAX_COLUMNS)
    except ValueError as error:
        raise InputError(f"is not a readable xls file: {_said(error)}", where=url, cure=_RESAVE) from None
    return [Sheet(name, tuple(tuple(row) for row in rows)) for name, rows in sheets]


def _read_csv(data: bytes, url: str) -> tuple[tuple, ...]:
    if b"\0" in data[:4096]:
        raise InputError("is neither xlsx, xls nor CSV in UTF-8", where=url, cure=_RESAVE)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error}", where=url, cure="save the CSV as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _bounded((tuple(cell or None for cell in cells) for cells in reader), url, "csv")
    except csv.Error as error:
        raise InputError(
            f"is not a readable CSV: {error}", where=f"{url}, row {reader.line_num}", cure="check the quotes"
        ) from None


def _bounded(rows: Iterable[tuple], url: str, sheet: str) -> tuple[tuple, ...]:
    """All rows up to the last that is not blank. Raises InputError beyond `MAX_ROWS` rows or `MAX_COLUMNS` columns."""
    kept, last = [], 0
    for number, cells in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise _too_large(url, sheet)
        width = max((place for place, cell in enumerate(cells, start=1) if cell is not None), default=0)
        if width > MAX_COLUMNS:
            raise _too_large(url, sheet)
        kept.append(tuple(cells[:width]))
        if width:
            last = number
    return tuple(kept[:last])


def _too_large(url: str, sheet: str) -> InputError:
    return InputError(
        f"sheet '{sheet}' has more than {MAX_ROWS:,} rows or {MAX_COLUMNS} columns",
        where=url,
        cure="this is no annotation table; delete the blank rows below it and save it again",
    )


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
