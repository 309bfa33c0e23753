"""Old binary Excel files, read in a process of their own.

The parser of the xls format, calamine, trusts the sizes that a file claims: a damaged one makes it ask for hundreds of
gigabytes and abort. In a process of its own, with bounded memory and time, that ends as an error and not as the end of
the user's program. Run as a program, this file reads a workbook from standard input and writes its sheets to standard
output as JSON.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys

_MEMORY_BYTES = 2_000_000_000
_SECONDS = 120


def read_xls(data: bytes, *, max_rows: int, max_columns: int) -> list[tuple[str, list[list]]]:
    """Sheets of an xls file: name, and rows of text, numbers, truth values or None; dates are text in ISO 8601.

    Raises:
        ValueError: the file is damaged, protected or larger than allowed; the message says which.
    """
    program = [sys.executable, "-P", __file__, str(max_rows), str(max_columns)]
    try:
        done = subprocess.run(program, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it takes more than {_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise ValueError(lines[-1] if done.returncode == 1 and lines else "the parser gave up on it")
    return [(name, rows) for name, rows in json.loads(done.stdout)]


def _main(max_rows: int, max_columns: int) -> None:
    import resource

    from python_calamine import CalamineError, CalamineWorkbook

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    sheets = []
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
        for name in book.sheet_names:
            sheet = book.get_sheet_by_name(name)
            if sheet.total_height > max_rows or sheet.total_width > max_columns:
                sys.exit(f"sheet '{name}' has more than {max_rows:,} rows or {max_columns} columns")
            sheets.append((name, [[_plain(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]))
    except (CalamineError, ValueError, OSError) as error:
        sys.exit(str(error) or type(error).__name__)
    json.dump(sheets, sys.stdout)


def _plain(cell: object) -> str | int | float | bool | None:
    if cell == "":
        return None
    return cell if isinstance(cell, str | int | float | bool) else str(cell)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
