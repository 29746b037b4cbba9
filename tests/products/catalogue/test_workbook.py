"""Catalogues that are Excel workbooks: ordinary, unusual, damaged and malicious."""

import io
import zipfile
from datetime import date, datetime, time

import pytest

from products.catalogue import Catalogue, CatalogueError, validate, workbook
from tests.support.factories import HEADER, URL, make_workbook

SHEET = "xl/worksheets/sheet1.xml"
ROW = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c></row>'


def read(data: bytes) -> Catalogue:
    return Catalogue(io.BytesIO(data))


def refusal_of(data: bytes) -> str:
    with pytest.raises(CatalogueError) as refusal:
        validate(read(data))
    (problem,) = refusal.value.problems
    return problem.code


def with_part(name: str, data: bytes | str, *rows: list[object]) -> bytes:
    """Return a workbook in which the part `name` is replaced by `data`."""
    source = zipfile.ZipFile(io.BytesIO(make_workbook(HEADER, *(rows or [[1, "Lamp", URL]]))))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in source.namelist():
            archive.writestr(part, data if part == name else source.read(part))
    return file.getvalue()


def with_rows(rows: str) -> bytes:
    """Return a workbook whose first sheet has these rows, as XML, after a header."""
    cells = "".join(
        f'<c r="{letter}1" t="inlineStr"><is><t>{name}</t></is></c>'
        for letter, name in zip("ABC", HEADER, strict=True)
    )
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return with_part(
        SHEET, f'<worksheet xmlns="{space}"><sheetData><row r="1">{cells}</row>{rows}</sheetData></worksheet>'
    )


def test_cells_become_text_as_a_csv_has_it() -> None:
    values = [
        7,
        7.0,
        0.5,
        10**15,
        True,
        None,
        date(2024, 3, 1),
        datetime(2024, 3, 1, 12, 30),
        time(8, 5),
        " x ",
    ]
    catalogue = read(make_workbook([*HEADER, *map(str, range(10))], [1, "Lamp", URL, *values]))
    (row,) = catalogue
    assert row.cells[3:] == [
        *(
            "7",
            "7",
            "0.5",
            "1000000000000000",
            "TRUE",
            "",
            "2024-03-01",
            "2024-03-01 12:30:00",
            "08:05:00",
            " x ",
        ),
    ]


def test_lines_are_the_rows_that_excel_shows_and_blank_ones_are_no_products() -> None:
    catalogue = read(make_workbook([], HEADER, [], [1, "Lamp", URL], [None, " ", ""], [2, "Chair"]))
    assert (catalogue.header_line, catalogue.header) == (2, list(HEADER))
    assert [(row.number, row.line, row.cells) for row in catalogue] == [
        (1, 4, ["1", "Lamp", URL]),
        (2, 6, ["2", "Chair", ""]),
    ]


def test_only_the_first_sheet_is_read() -> None:
    assert len(list(read(make_workbook(HEADER, [1, "Lamp", URL])))) == 1


def test_a_sheet_that_gives_its_size_wrongly_is_read_to_its_end() -> None:
    archive = zipfile.ZipFile(io.BytesIO(make_workbook(HEADER, [1, "Lamp", URL], [2, "Chair", URL])))
    sheet = archive.read(SHEET).replace(b'ref="A1:C3"', b'ref="A1:A1"')
    assert b'ref="A1:A1"' in sheet
    assert [row.product_name for row in read(with_part(SHEET, sheet))] == ["Lamp", "Chair"]


def test_cells_beyond_the_header_are_a_problem_of_their_row() -> None:
    summary = validate(read(make_workbook(HEADER, [1, "Lamp", URL, None, "note"])))
    assert [(problem.code, problem.line, problem.column) for problem in summary.problems] == [
        ("too_many_cells", 2, 5)
    ]


def test_files_that_are_no_workbooks_are_refused() -> None:
    assert refusal_of(make_workbook()) == "missing_column"
    assert refusal_of(make_workbook(HEADER)) == "no_rows"
    assert refusal_of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)) == "unsupported_workbook"
    assert refusal_of(b"PK\x03\x04" + bytes(100)) == "unreadable_workbook"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("catalogue.csv", "Serial Number,Product Name,Input Image Urls\n")
    assert refusal_of(file.getvalue()) == "unreadable_workbook"


def test_a_damaged_workbook_is_refused_wherever_the_damage_is() -> None:
    data = make_workbook(HEADER, [1, "Lamp", URL], [2, "Chair", URL])
    codes = set()
    for place in range(4, len(data), 7):
        damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            validate(read(damaged))
        except CatalogueError as error:
            codes |= {problem.code for problem in error.problems}
    assert "unreadable_workbook" in codes
    assert codes <= {
        "unreadable_workbook",
        "workbook_too_large",
        "missing_column",
        "no_rows",
        "duplicate_column",
    }
    for length in range(4, len(data), 97):
        assert refusal_of(data[:length]) == "unreadable_workbook"


@pytest.mark.parametrize(
    "part",
    [
        SHEET,
        "xl/workbook.xml",
        "xl/styles.xml",
        "xl/sharedStrings.xml",
        "[Content_Types].xml",
        "xl/_rels/workbook.xml.rels",
    ],
)
@pytest.mark.parametrize(
    "data", ["", "<a/>", "<a><b></a>", "nothing", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"]
)
def test_parts_that_are_not_what_they_should_be_refuse_the_file_or_are_not_needed(
    part: str, data: str
) -> None:
    try:
        validate(read(with_part(part, data)))
    except CatalogueError as error:
        assert {problem.code for problem in error.problems} <= {"unreadable_workbook", "missing_column"}
    else:
        assert part in {"xl/styles.xml", "xl/sharedStrings.xml"}


def test_entities_that_grow_are_refused() -> None:
    entities = "<!ENTITY a0 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 10)
    )
    sheet = f"<!DOCTYPE a [{entities}]><worksheet><sheetData>&a9;</sheetData></worksheet>"
    assert refusal_of(with_part(SHEET, sheet)) in {"unreadable_workbook", "missing_column"}


def test_a_row_number_out_of_all_bounds_is_refused() -> None:
    assert refusal_of(with_rows(ROW.format(10**15, "x"))) == "workbook_too_large"


def test_a_cell_longer_than_a_csv_has_is_refused() -> None:
    assert refusal_of(with_rows(ROW.format(2, "x" * 200_000))) == "cell_too_long"


def test_rows_that_are_wider_than_all_sense_add_up_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_SHEET_CELLS", 200_000)
    wide = "".join(f'<row r="{number}"><c r="XFD{number}"><v>1</v></c></row>' for number in range(2, 100))
    assert refusal_of(with_rows(wide)) == "workbook_too_large"


@pytest.mark.parametrize(
    "rows",
    [
        "<row>" + "<c/>" * 2_000_000 + "</row>",
        "<row/>" * 2_100_000,
        '<x:row xmlns:x="y">' + "<c/>" * 2_000_000 + "</x:row>",
    ],
    ids=["a row of millions of cells", "millions of rows", "a row of another name"],
)
def test_a_small_file_that_would_take_all_memory_is_refused(rows: str) -> None:
    data = with_rows(rows)
    assert len(data) < 200_000
    assert refusal_of(data) == "workbook_too_large"


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_UNPACKED_BYTES", 10_000)
    assert refusal_of(with_rows(ROW.format(2, "x" * 10_000))) == "workbook_too_large"


def test_a_large_picture_in_a_workbook_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_UNCHECKED_BYTES", 1000)
    file = io.BytesIO(make_workbook(HEADER, [1, "Lamp", URL]))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("xl/media/image1.png", b"\x89PNG" + bytes(5000))
    assert len(list(read(file.getvalue()))) == 1
