"""Annotation files. If these fail, a damaged file takes the machine down, or a wrong cell passes for a number."""

from __future__ import annotations

import io
import re
import zipfile

import pytest

from hsta.datasets import tables
from hsta.datasets.tables import as_integer, as_text, find_table, read_workbook
from hsta.errors import InputError
from tests.datasets.builders import write_csv, write_xls, write_xlsx

COLUMNS = {"subject": ("Subject",), "onset": ("OnsetFrame", "Onset")}
ROWS = [["Subject", "Onset Frame"], ["01", 3], ["02", "4"]]
WORKSHEET = "xl/worksheets/sheet1.xml"


def rewrite(path, change, part=WORKSHEET):
    """The workbook with one part changed."""
    sink = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            data = source.read(item)
            target.writestr(item.filename, change(data.decode()) if item.filename == part else data)
    path.write_bytes(sink.getvalue())
    return str(path)


def rows_of(url):
    return [(row.text("subject"), as_integer(row["onset"])) for row in find_table(read_workbook(url), COLUMNS).rows]


def test_one_table_in_three_formats(tmp_path):
    expected = [("01", 3), ("02", 4)]
    assert rows_of(write_xlsx(tmp_path / "a.xlsx", {"S": ROWS})) == expected
    assert rows_of(write_csv(tmp_path / "a.csv", ROWS)) == expected
    assert rows_of(write_xls(tmp_path / "a.xls", {"S": ROWS})) == expected
    assert rows_of(write_xlsx(tmp_path / "a.xls", {"S": ROWS})) == expected  # what it is, not what it is called


def test_a_header_is_found_wherever_it_starts_and_on_the_named_sheet_first(tmp_path):
    other = [["Subject", "Onset"], ["99", 1]]
    path = write_xlsx(tmp_path / "a.xlsx", {"first": other, "Wanted": [["note"], [], *ROWS, [], ["by hand"]]})
    table = find_table(read_workbook(path), COLUMNS, sheet="wanted")
    assert (table.sheet, table.notes, len(table.rows)) == ("Wanted", 1, 2)
    assert table.rows[0].where == f"{path}, sheet Wanted, row 4"
    assert find_table(read_workbook(path), COLUMNS).sheet == "first"


def test_a_missing_column_is_named_with_what_was_found(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["Subject", "Begin"], ["01", 3]])
    with pytest.raises(InputError, match="the nearest row of sheet 'csv' lacks onset and has Subject, Begin"):
        rows_of(path)
    with pytest.raises(InputError, match="no data row"):
        rows_of(write_csv(tmp_path / "b.csv", ROWS[:1]))


def test_a_formula_gives_its_stored_result(tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, {"S": [ROWS[0], ["01", "=1+2"]]})
    stored = rewrite(path, lambda xml: re.sub(r"<f>1\+2</f><v\s*/>|<f>1\+2</f><v></v>", "<f>1+2</f><v>3</v>", xml))
    assert rows_of(stored) == [("01", 3)]


@pytest.mark.parametrize(
    ("cell", "text", "integer"),
    [
        (3, "3", 3),
        (3.0, "3", 3),
        (" 3 ", "3", 3),
        ("3.0", "3.0", 3),
        ("-3", "-3", -3),
        ("03", "03", 3),
        (3.5, "3.5", None),
    ]
    + [
        (None, "", None),
        ("", "", None),
        ("1e3", "1e3", None),
        (True, "True", None),
        ("\u0663", "\u0663", None),
        ("9" * 400,) * 2 + (None,),
    ],
)
def test_cells_as_text_and_numbers(cell, text, integer):
    assert (as_text(cell), as_integer(cell)) == (text, integer)


def far_cell(xml):
    return xml.replace("</sheetData>", '<row r="1000000000"><c r="A1000000000"><v>1</v></c></row></sheetData>')


def wide_cell(xml):
    return xml.replace("</sheetData>", '<row r="9"><c r="XFD9"><v>1</v></c></row></sheetData>')


@pytest.mark.parametrize("change", [far_cell, wide_cell], ids=["a-thousand-million-rows", "sixteen-thousand-columns"])
def test_a_sheet_that_claims_to_be_enormous_is_refused(tmp_path, change):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, {"S": ROWS})
    with pytest.raises(InputError, match="more than 200,000 rows or 512 columns"):
        read_workbook(rewrite(path, change))


def test_a_workbook_that_unpacks_to_very_much_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, {"S": ROWS})
    rewrite(path, lambda xml: xml.replace("</sheetData>", "</sheetData>" + " " * 70_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match="unpacks to 70,"):
        read_workbook(str(path))


def test_entities_are_refused(tmp_path):
    path = tmp_path / "a.xlsx"
    write_xlsx(path, {"S": ROWS})
    with pytest.raises(InputError, match="document type definition"):
        read_workbook(rewrite(path, lambda xml: '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + xml))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("Subject,Onset\n01,3é\n".encode("latin-1"), "not UTF-8"),
        ("Subject,Onset\n01,3\n".encode("utf-16"), "neither xlsx, xls nor CSV"),
        (b'Subject,Onset\n"01,3\n', "not a readable CSV"),
        (b"PK\x03\x04 and nothing more", "not a readable xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and nothing more", "not a readable xls"),
        (b"", "no header with the columns Subject, OnsetFrame"),
    ],
)
def test_damaged_files_are_named(tmp_path, data, said):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        rows_of(str(tmp_path / "a"))
    assert str(tmp_path / "a") in str(caught.value) and "cure:" in str(caught.value)


def test_a_missing_and_an_oversized_file_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="not there"):
        read_workbook(str(tmp_path / "no.xlsx"))
    with pytest.raises(InputError, match="not there"):
        read_workbook(str(tmp_path))
    monkeypatch.setattr(tables, "MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_workbook(write_csv(tmp_path / "a.csv", ROWS))


def test_a_parser_that_gives_up_on_an_old_workbook_does_not_take_the_program_down(tmp_path):
    path = tmp_path / "a.xls"
    write_xls(path, {"S": ROWS})
    data = bytearray(path.read_bytes())
    place = data.index(b"\x00\x02\x0e\x00") + 4  # the record that says how large the sheet is
    data[place : place + 8] = b"\x00\x00\x00\x00\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a readable xls file: the parser gave up on it"):
        rows_of(str(path))
