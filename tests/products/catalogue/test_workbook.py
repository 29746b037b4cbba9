"""Catalogues that are Excel workbooks: ordinary, unusual, damaged and malicious."""

import copy
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from functools import cache
from pathlib import Path

import openpyxl
import pytest

from products.catalogue import Catalogue, CatalogueError, content, preview, reading, validate, workbook, xlsx
from products.catalogue.columns import Columns
from tests.support.factories import HEADER, OTHER_URL, URL, make_workbook

SHEET = "xl/worksheets/sheet1.xml"
STRINGS_PART = "xl/sharedStrings.xml"
STRINGS_TYPE = (
    f'<Override PartName="/{STRINGS_PART}" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>'
)
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
            content = data if part == name else source.read(part)
            if part == "[Content_Types].xml" and name == STRINGS_PART and name not in source.namelist():
                content = source.read(part).replace(b"</Types>", STRINGS_TYPE.encode() + b"</Types>")
            archive.writestr(part, content)
        if name not in source.namelist():
            archive.writestr(name, data)
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
    assert refusal_of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)) == "unreadable_workbook"
    assert refusal_of(b"PK\x03\x04" + bytes(100)) == "unreadable_workbook"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("catalogue.csv", "Serial Number,Product Name,Input Image Urls\n")
    assert refusal_of(file.getvalue()) == "unreadable_workbook"


@pytest.mark.needs("more time")
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
        assert part in {"xl/styles.xml", "xl/sharedStrings.xml", "[Content_Types].xml"}


def test_entities_that_grow_are_refused() -> None:
    entities = "<!ENTITY a0 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 10)
    )
    sheet = f"<!DOCTYPE a [{entities}]><worksheet><sheetData>&a9;</sheetData></worksheet>"
    assert refusal_of(with_part(SHEET, sheet)) in {"unreadable_workbook", "missing_column"}


def test_a_row_number_out_of_all_bounds_is_refused() -> None:
    assert refusal_of(with_rows(ROW.format(10**15, "x"))) == "workbook_too_large"


def test_a_cell_longer_than_a_csv_has_is_refused() -> None:
    assert refusal_of(with_rows(ROW.format(2, "x" * 1_200_000))) == "cell_too_long"


def test_rows_that_are_wider_than_all_sense_add_up_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx.sheet, "MAX_SHEET_CELLS", 200_000)
    wide = "".join(f'<row r="{number}"><c r="XFD{number}"><v>1</v></c></row>' for number in range(2, 100))
    assert refusal_of(with_rows(wide)) == "workbook_too_large"


@pytest.mark.needs("more time")
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
    monkeypatch.setattr(xlsx.package, "MAX_UNPACKED_BYTES", 10_000)
    assert refusal_of(with_rows(ROW.format(2, "x" * 10_000))) == "workbook_too_large"


def repeated(count: int) -> bytes:
    """Return a small workbook in which many rows share one long text."""
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, count + 1))
    strings = f"<sst><si><t>{'x' * 900_000}</t></si></sst>"
    source = zipfile.ZipFile(io.BytesIO(with_part(STRINGS_PART, strings)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in source.namelist():
            sheet = f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
            archive.writestr(part, sheet if part == SHEET else source.read(part))
    return file.getvalue()


@pytest.mark.needs("more time")
def test_a_text_that_many_rows_share_counts_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_TEXT_CHARS", 5_000_000)
    data = repeated(60)
    assert len(data) < 20_000
    book = workbook.Workbook(io.BytesIO(data))
    with pytest.raises(CatalogueError) as refused:
        list(book.records())
    assert [problem.code for problem in refused.value.problems] == ["workbook_too_large"]


@pytest.mark.needs("more time")
def test_columns_are_found_in_a_few_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []

    def find(columns: Columns, _header: list[str], rows: list[list[str]], _base_url: str) -> Columns:
        taken.extend(rows)
        return columns

    monkeypatch.setattr(reading, "find_by_content", find)
    with pytest.raises(CatalogueError):
        read(repeated(60))
    assert {len(cell) for cells in taken for cell in cells} == {content.SAMPLE_CELL_CHARS}
    assert len(taken) == 1 + content.SAMPLE_CHARS // 900_000


def test_a_large_picture_in_a_workbook_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx.package, "MAX_GROUP_BYTES", 4000)
    file = io.BytesIO(make_workbook(HEADER, [1, "Lamp", URL]))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("xl/media/image1.png", b"\x89PNG" + bytes(5000))
    assert len(list(read(file.getvalue()))) == 1


CELL = '<row r="2"><c r="A2" t="s"><v>0</v></c></row>'
STRINGS = '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{0}</sst>'
ENTITY = f'<!DOCTYPE a [<!ENTITY b "{"x" * 40_000}">]>'


def packed(method: int) -> bytes:
    """Return a small workbook whose sheet is compressed by a method without bounds in zipfile."""
    book = zipfile.ZipFile(io.BytesIO(make_workbook(HEADER, [1, "Lamp", URL])))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in book.namelist():
            archive.writestr(part, book.read(part), method if part == SHEET else None)
    return file.getvalue()


@cache
def hostile_workbooks() -> dict[str, tuple[bytes, str]]:
    """Return small workbooks that take gigabytes or minutes, each with the code of its refusal."""
    token, comment = f'<a b="{"x" * 20_000_000}"/>', f"<!--{'x' * 20_000_000}-->"
    wide = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(2, 5000))
    entity_rows = "<row><c><v>&b;</v></c></row>" * 1000
    return {
        "bzip2": (packed(zipfile.ZIP_BZIP2), "unreadable_workbook"),
        "LZMA": (packed(zipfile.ZIP_LZMA), "unreadable_workbook"),
        "an entity": (
            with_part(SHEET, f"{ENTITY}<worksheet>{entity_rows}</worksheet>"),
            "unreadable_workbook",
        ),
        "entities in shared strings": (
            with_part("xl/sharedStrings.xml", ENTITY + STRINGS.format("<si><t>&b;</t></si>" * 9000)),
            "unreadable_workbook",
        ),
        "a DOCTYPE alone": (
            with_part("xl/styles.xml", "<!DOCTYPE styleSheet><styleSheet/>"),
            "unreadable_workbook",
        ),
        "a DOCTYPE in UTF-16": (
            with_part("xl/styles.xml", "<!DOCTYPE styleSheet><styleSheet/>".encode("utf-16")),
            "unreadable_workbook",
        ),
        "a tag of 20 MB": (with_rows(f"<row>{token}</row>"), "workbook_too_large"),
        "a comment of 20 MB": (with_rows(comment), "workbook_too_large"),
        "a comment before the root": (with_part(SHEET, f"{comment}<worksheet/>"), "workbook_too_large"),
        "a comment in styles": (with_part("xl/styles.xml", f"{comment}<styleSheet/>"), "workbook_too_large"),
        "a string of 18 MB": (
            with_part("xl/sharedStrings.xml", STRINGS.format(f"<si><t>{'x' * 18_000_000}</t></si>")),
            "workbook_too_large",
        ),
        "a million styles": (
            with_part("xl/styles.xml", f"<styleSheet><cellXfs>{'<xf/>' * 900_000}</cellXfs></styleSheet>"),
            "workbook_too_large",
        ),
        "very wide rows": (with_rows(wide), "workbook_too_large"),
        "a million cells in 30 KB": (
            with_rows("<row>" + "<c/>" * 900 + "</row>" + ("<row>" + "<c/>" * 900 + "</row>") * 1500),
            "workbook_too_large",
        ),
        "90 MB of blanks": (with_rows(f"<row>{' ' * 9_000_000}</row>" * 10), "workbook_too_large"),
    }


#: Of address space above what the process has before: three times the most that a small workbook takes.
MAX_MEMORY_BYTES = 400_000_000
LIMITED = """
import os, resource, sys
from products.catalogue import Catalogue, CatalogueError, preview

def code_of(file):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + int(memory_bytes),) * 2)
    try:
        preview(Catalogue(open(file, "rb")))
    except CatalogueError as error:
        return error.problems[0].code

memory_bytes, *files = sys.argv[1:]
for file in files:
    if not os.fork():
        print(code_of(file), flush=True)
        os._exit(0)
    status = os.wait()[1]
    if status:
        print("ended with", status, flush=True)
"""


@pytest.mark.needs("a process of its own")
def test_a_small_hostile_workbook_is_refused_within_little_memory(tmp_path: Path) -> None:
    workbooks = hostile_workbooks()
    files = []
    for name, (data, _code) in workbooks.items():
        assert len(data) < 200_000, name
        files.append(tmp_path / name)
        files[-1].write_bytes(data)
    command = [sys.executable, "-c", LIMITED, str(MAX_MEMORY_BYTES), *map(str, files)]
    children = subprocess.run(command, capture_output=True, text=True, check=False)
    codes = dict(zip(workbooks, children.stdout.splitlines(), strict=True))
    assert codes == {name: code for name, (_data, code) in workbooks.items()}, children.stderr


def test_a_zip_with_a_list_of_files_out_of_all_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx.package, "MAX_DIRECTORY_BYTES", 500)
    assert refusal_of(make_workbook(HEADER, [1, "Lamp", URL])) == "workbook_too_large"


def test_a_zip_whose_entries_share_one_part_is_refused() -> None:
    file = io.BytesIO(make_workbook(HEADER, [1, "Lamp", URL]))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("picture.png", bytes(100_000))
    single = file.getvalue()
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"changed"  # so that the list is written anew
        for number in range(50):
            entry = copy.copy(archive.getinfo("picture.png"))
            entry.filename = f"picture{number}.png"
            archive.filelist.append(entry)
    assert len(file.getvalue()) < len(single) + 10_000
    assert len(list(read(single))) == 1
    assert refusal_of(file.getvalue()) == "unreadable_workbook"


def test_a_sheet_that_was_parsed_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx.package, "FREE_ELEMENTS", 0)
    monkeypatch.setattr(xlsx.package, "MAX_ELEMENTS_PER_BYTE", 1)
    data = with_rows("".join(ROW.format(number, "x") for number in range(2, 1000)))
    book = xlsx.Xlsx(io.BytesIO(data))
    book.package._elements_left = 5000
    width = [book.width(book.sheets[0], 1) for _ in range(3)]
    assert width == [3, 3, 3]
    assert len(list(book.rows(book.sheets[0]))) == 999


def test_parts_that_are_not_needed_are_not_read() -> None:
    names = ["docProps/core.xml", "docProps/app.xml", "xl/theme/theme1.xml", "xl/worksheets/sheet2.xml"]
    for name in names:
        data = with_part(name, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
        assert [row.product_name for row in read(data)] == ["Lamp"]


def test_numbers_shown_as_dates_and_durations_are_read_as_such() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append([*HEADER, "a", "b", "c", "d"])
    sheet.append([1, "Lamp", URL, 45352, 45352.5, 1.5, 45352])
    for column, code in zip("DEFG", ["dd/mm/yy", 'yyyy"x"mm', "[hh]:mm", '0.00 "days"'], strict=True):
        sheet[f"{column}2"].number_format = code
    file = io.BytesIO()
    book.save(file)
    (row,) = read(file.getvalue())
    assert row.cells[3:] == ["2024-03-01", "2024-03-01 12:00:00", "1 day, 12:00:00", "45352"]


def book_of(
    rows: str,
    *,
    after: str = "",
    formats: tuple[str, ...] = (),
    links: dict[str, str] | None = None,
    edit: Callable[[str, str], tuple[str, str]] = lambda name, text: (name, text),
) -> bytes:
    """Return a workbook with a header, these rows from the second on, and what follows them, all as XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    header = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in HEADER)
    codes = "".join(f'<numFmt numFmtId="{200 + n}" formatCode="{code}"/>' for n, code in enumerate(formats))
    used = "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(len(formats)))
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="Products" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" '
        f'Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><numFmts>{codes}</numFmts><fonts><font><color '
        'rgb="FFFFFF" unknown="1"/></font></fonts><fills><fill/></fills>'
        f'<cellXfs><xf numFmtId="0"/>{used}</cellXfs></styleSheet>',
        SHEET: f'<worksheet xmlns="{main}" xmlns:r="{office}"><sheetData><row r="1">{header}</row>{rows}'
        f"</sheetData>{after}</worksheet>",
        "xl/worksheets/_rels/sheet1.xml.rels": f'<Relationships xmlns="{package}">'
        + "".join(
            f'<Relationship Id="{name}" Type="{office}/hyperlink" Target="{target}" TargetMode="External"/>'
            for name, target in (links or {}).items()
        )
        + "</Relationships>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(*edit(name, text))
    return file.getvalue()


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def row(number: int, *texts: str) -> str:
    cells = "".join(cell(f"{letter}{number}", text) for letter, text in zip("ABCDEF", texts, strict=False))
    return f'<row r="{number}">{cells}</row>'


def found(data: bytes) -> list[tuple[str, str, list[str]]]:
    return [(row.serial_number, row.product_name, row.image_urls) for row in read(data)]


def test_what_is_escaped_in_texts_is_undone() -> None:
    data = book_of(row(2, "A-2_x000D_", "_x005F_x0041_", f"{URL}_x000D_\n{OTHER_URL}"))
    assert found(data) == [("A-2", "_x0041_", [URL, OTHER_URL])]
    data = make_workbook(["Serial_x0020_Number", *HEADER[1:]], [1, "Lamp", URL])
    assert found(data) == [("1", "Lamp", [URL])]


def test_characters_that_a_database_does_not_take_are_replaced() -> None:
    catalogue = read(make_workbook([*HEADER, "a_x0000_b"], [1, "Lamp_xD800_", f"{URL}_xDFFF_", "_x0000_"]))
    (row,) = catalogue
    assert catalogue.header[3] == "a\ufffdb"
    assert row.cells == ["1", "Lamp\ufffd", f"{URL}\ufffd", "\ufffd"]
    assert row.text == f"1,Lamp\ufffd,{URL}\ufffd,\ufffd\r\n"


def test_numbers_are_as_excel_shows_them() -> None:
    values = {"C2": ("123", 1), "D2": ("57.7", 0), "E2": ("0.30000000000000004", 0), "F2": ("7", 2)}
    cells = "".join(f'<c r="{place}" s="{style}"><v>{v}</v></c>' for place, (v, style) in values.items())
    (read_row,) = read(book_of(f'<row r="2">{cells}</row>', formats=("00000", "&quot;SKU-&quot;000")))
    assert read_row.cells[2:] == ["00123", "57.7", "0.3", "SKU-007"]


def test_links_of_picture_cells_are_read_and_those_of_others_are_not() -> None:
    rows = row(2, "1", "Lamp", "front view") + row(3, "2", "Chair", "back view")
    after = '<hyperlinks><hyperlink ref="C2" r:id="k1"/><hyperlink ref="B2" r:id="k2"/></hyperlinks>'
    links = {"k1": URL, "k2": "https://shop.example/lamp"}
    assert found(book_of(rows, after=after, links=links)) == [
        ("1", "Lamp", [URL]),
        ("2", "Chair", ["back view"]),
    ]


@pytest.mark.parametrize("name", ["HYPERLINK", "IMAGE", "_xlfn.IMAGE"])
@pytest.mark.parametrize("value", ["", "<v>photo</v>"])
def test_formulas_that_link_to_a_picture_are_read(name: str, value: str) -> None:
    formula = f'{name}("{URL}", "photo")'.replace('"', "&quot;")
    cells = f'{cell("A2", "1")}{cell("B2", "Lamp")}<c r="C2" t="str"><f>{formula}</f>{value}</c>'
    assert found(book_of(f'<row r="2">{cells}</row>')) == [("1", "Lamp", [URL])]


@pytest.mark.parametrize(
    ("cell", "after"),
    [
        ('<c r="C2"/>', f'<hyperlinks><hyperlink ref="C2" location="{URL}"/></hyperlinks>'),
        (f'<c r="C2" t="str"><f>HYPERLINK("{URL}", " ")</f><v> </v></c>', ""),
    ],
    ids=["a link", "a formula"],
)
def test_a_link_in_a_last_cell_without_text_is_read(cell: str, after: str) -> None:
    sheet = zipfile.ZipFile(io.BytesIO(with_rows(f'<row r="2"><c r="A2"><v>1</v></c>{cell}</row>'))).read(
        SHEET
    )
    (row,) = read(with_part(SHEET, sheet.decode().replace("</sheetData>", f"</sheetData>{after}")))
    assert (row.serial_number, row.image_urls) == ("1", [URL])


def test_a_formula_without_a_stored_value_is_a_bad_cell() -> None:
    cells = f'{cell("A2", "1")}{cell("B2", "Lamp")}<c r="C2"><f>A2&amp;".jpg"</f></c>'
    summary = validate(read(book_of(f'<row r="2">{cells}</row>')))
    (problem,) = summary.problems
    assert (problem.code, problem.line, problem.column) == ("invalid_url", 2, 3)
    assert problem.detail.endswith(
        "This is a formula without a stored value. Open the file in Excel and save it."
    )


def test_merged_cells_have_their_value_in_every_row() -> None:
    rows = row(2, "A-1", "Lamp", URL) + row(3, "", "", OTHER_URL) + row(5, "A-2", "Chair", URL)
    after = '<mergeCells count="2"><mergeCell ref="A2:A4"/><mergeCell ref="B2:B4"/></mergeCells>'
    assert found(book_of(rows, after=after)) == [
        ("A-1", "Lamp", [URL]),
        ("A-1", "Lamp", [OTHER_URL]),
        ("A-2", "Chair", [URL]),
    ]


@pytest.mark.parametrize(
    "edit",
    [
        lambda name, text: (name, text),
        lambda name, text: (name.upper(), text),
        lambda name, text: (name.replace("/", "\\"), text),
        lambda name, text: (
            name,
            text.replace("schemas.openxmlformats.org", "purl.oclc.org/ooxml").replace("/2006/", "/"),
        ),
        lambda name, text: (name, "<styleSheet><cellXfs>" if name == "xl/styles.xml" else text),
        lambda name, text: (name, "" if name == "xl/styles.xml" else text),
    ],
    ids=["odd styles", "other case", "backslashes", "strict", "broken styles", "empty styles"],
)
def test_nothing_but_cells_links_and_formats_is_needed(edit: Callable[[str, str], tuple[str, str]]) -> None:
    assert found(book_of(row(2, "1", "Lamp", URL), edit=edit)) == [("1", "Lamp", [URL])]


def sheets_of(*sheets: tuple[str, str, list[list[str]]]) -> bytes:
    """Return a workbook with these sheets, each with a name, a state and its rows."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, state, rows in sheets:
        sheet = book.create_sheet(name)
        sheet.sheet_state = state
        for cells in rows:
            sheet.append(cells)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


OLD = [list(HEADER), ["1", "Old lamp", URL]]
NEW = [list(HEADER), ["1", "New lamp", URL]]
SHEETS = sheets_of(
    ("Old", "hidden", OLD),
    ("Read me", "visible", [["How to use", "this"], ["file", "?"]]),
    ("New", "visible", NEW),
)


def test_the_first_visible_sheet_with_known_columns_is_read() -> None:
    catalogue = read(SHEETS)
    assert [row.product_name for row in catalogue] == ["New lamp"]
    assert (catalogue.sheet, catalogue.sheets) == ("New", ["Read me", "New"])
    shown = preview(catalogue)
    assert (shown.sheet, shown.sheets) == ("New", ["Read me", "New"])


@pytest.mark.parametrize(("sheet", "name"), [("Old", "Old lamp"), ("1", "Old lamp"), ("3", "New lamp")])
def test_a_sheet_can_be_chosen_by_name_or_number(sheet: str, name: str) -> None:
    assert [row.product_name for row in Catalogue(io.BytesIO(SHEETS), sheet=sheet)] == [name]


def test_a_sheet_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(CatalogueError) as refused:
        Catalogue(io.BytesIO(SHEETS), sheet="Prices")
    (problem,) = refused.value.problems
    assert problem.code == "unknown_sheet"
    assert problem.detail == "There is no sheet “Prices”. Found in the file: “Old”, “Read me”, “New”."
