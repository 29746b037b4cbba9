"""results.xlsx: the workbook again, with what became of its pictures, judged by other readers."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.models import User
from django.test import Client
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.table import Table
from python_calamine import CalamineWorkbook

from products.catalogue import CatalogueError
from products.models import Request
from products.results.result_xlsx import result_xlsx
from tests.support.factories import (
    HEADER,
    JPEG,
    OTHER_JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    address_of,
    download,
    ingest,
    make_csv,
    make_workbook,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db

SHEET = "xl/worksheets/sheet1.xml"
RESULT = ["Output Image Urls", "Status", "Error"]
ENDED: Mapping[str, bytes | str] = {URL: JPEG, OTHER_URL: "timeout"}


def saved(book: openpyxl.Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def finished(
    owner: User, data: bytes, outcomes: Mapping[str, bytes | str] = ENDED, **options: Any
) -> Request:
    return settle(ingest(submit(owner, data, "catalogue.xlsx", **options)), outcomes)


def opened(data: bytes, sheet: str | None = None) -> Any:
    book = openpyxl.load_workbook(io.BytesIO(data))
    return book[sheet] if sheet else book.worksheets[0]


def values_of(data: bytes) -> list[list[Any]]:
    """The first sheet as calamine reads it."""
    return CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python()


def output_of(batch: Request, url: str) -> str:
    return f"http://127.0.0.1:8000/media/{batch.images.get(url=url).output_key}"


def with_sheet(xml: str, *rows: Sequence[object], part: str = SHEET) -> bytes:
    """A workbook in which one part is replaced."""
    source = zipfile.ZipFile(io.BytesIO(make_workbook(HEADER, *rows)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, xml if name == part else source.read(name))
    return file.getvalue()


def test_a_workbook_comes_back_with_three_columns_and_everything_else_as_it_was(
    api: Client, ann: User
) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (HEADER, [7, "Chäir", f"{URL} {OTHER_URL}"], [], [8, "Lamp", None]):
        sheet.append(list(row))
    sheet["A1"].font = sheet["C1"].font = Font(bold=True)
    sheet["B2"].fill = PatternFill("solid", fgColor="FF8800")
    sheet["C2"].alignment = Alignment(wrap_text=True)
    sheet["A2"].number_format = "00000"
    sheet.column_dimensions["B"].width = 42
    sheet.freeze_panes = "A2"
    sheet.add_data_validation(DataValidation(type="list", formula1='"a,b"', sqref="B2:B9"))
    sheet.conditional_formatting.add("A2:A9", CellIsRule("greaterThan", ["7"], font=Font(bold=True)))
    sheet.add_table(Table(displayName="Products", ref="A1:C4"))
    book.create_sheet("Prices").append(["=1+1", 19.9])
    data = saved(book)
    batch = finished(ann, data)
    result = download(api, batch, "results.xlsx")

    before, after = zipfile.ZipFile(io.BytesIO(data)), zipfile.ZipFile(io.BytesIO(result))
    assert after.testzip() is None
    assert sorted(before.namelist()) == sorted(after.namelist())
    assert {name for name in before.namelist() if before.read(name) != after.read(name)} == {SHEET}
    failure = f"{OTHER_URL}: It failed with timeout."
    assert values_of(result) == [
        [*HEADER, *RESULT],
        [7.0, "Chäir", f"{URL} {OTHER_URL}", f"{output_of(batch, URL)} ", "completed_with_errors", failure],
        ["", "", "", "", "", ""],
        [8.0, "Lamp", "", "", "completed", ""],
    ]
    written = opened(result)
    assert written.dimensions == "A1:F4"
    assert (written["A1"].font.b, written["D1"].font.b, written["D2"].font.b) == (True, True, False)
    assert written["B2"].fill.fgColor.rgb == "00FF8800"
    assert written["C2"].alignment.wrap_text
    assert (written["A2"].number_format, written.column_dimensions["B"].width) == ("00000", 42)
    assert (written.freeze_panes, written.tables["Products"].ref) == ("A2", "A1:C4")
    assert len(written.data_validations.dataValidation) == len(written.conditional_formatting) == 1
    assert opened(result, "Prices")["A1"].value == "=1+1"


def test_the_columns_are_those_of_the_csv(api: Client, ann: User) -> None:
    data = make_workbook(
        [*HEADER, "Status", "Note"], [1, "Chair", URL, "active", "x"], [2, "Table", OTHER_URL, "draft"]
    )
    batch = finished(ann, data)
    text = download(api, batch, "results.csv").decode()
    rows = [line.split(",") for line in text.splitlines()]
    assert [[str(cell) for cell in row] for row in values_of(download(api, batch, "results.xlsx"))] == [
        [cell if number == 0 or index else f"{cell}.0" for index, cell in enumerate(row)]
        for number, row in enumerate(rows)
    ]
    assert rows[0][5:] == ["Output Image Urls", "Status 2", "Error"]


def test_columns_of_an_earlier_result_are_written_anew(api: Client, ann: User) -> None:
    data = make_workbook([*HEADER, *RESULT], [1, "Chair", URL, "old", "failed", "It failed."])
    batch = finished(ann, data, {URL: JPEG})
    result = download(api, batch, "results.xlsx")
    assert values_of(result) == [
        [*HEADER, *RESULT],
        [1.0, "Chair", URL, output_of(batch, URL), "completed", ""],
    ]
    again = finished(ann, result, {URL: JPEG})
    assert values_of(download(api, again, "results.xlsx")) == values_of(result)
    replaced = values_of(download(api, batch, "results.xlsx", style="replace"))
    assert replaced == [[*HEADER], [1.0, "Chair", output_of(batch, URL)]]


def test_cells_beyond_the_header_are_kept(api: Client, ann: User) -> None:
    data = make_workbook(HEADER, [1, "Chair", URL, None, "a note"], [2, "Table", OTHER_URL])
    batch = finished(ann, data)
    header, chair, table = values_of(download(api, batch, "results.xlsx"))
    assert header == [*HEADER, "", "", *RESULT]
    assert chair == [1.0, "Chair", URL, "", "a note", output_of(batch, URL), "completed", ""]
    assert table[5:7] == ["", "failed"]


def test_new_urls_take_the_place_of_the_old_ones_in_cells_links_and_formulas(api: Client, ann: User) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (
        [*HEADER, "Price"],
        [1, "Chair", URL, 2],
        [2, "Table", "front view", 3],
        [3, "Lamp", f'=HYPERLINK("{URL}?a=1&b=2","photo")', "=D2+1"],
        [4, "Sofa", f"{URL}; {OTHER_URL}", 5],
    ):
        sheet.append(row)
    sheet["C2"].hyperlink = URL
    sheet["C3"].hyperlink = THIRD_URL
    sheet["C2"].font = Font(italic=True)
    batch = finished(ann, saved(book), {**ENDED, f"{URL}?a=1&b=2": OTHER_JPEG, THIRD_URL: OTHER_JPEG})
    new, other = output_of(batch, URL), output_of(batch, THIRD_URL)
    written = opened(download(api, batch, "results.xlsx", style="replace"))
    assert (written["C2"].value, written["C2"].hyperlink.target, written["C2"].font.i) == (new, new, True)
    assert (written["C3"].value, written["C3"].hyperlink.target) == ("front view", other)
    assert written["C4"].value == f'=HYPERLINK("{other}","photo")'
    assert written["C5"].value == f"{new}; {OTHER_URL}"
    assert (written["D4"].value, written.dimensions) == ("=D2+1", "A1:D5")


def test_the_link_of_a_cell_with_two_urls_leads_to_the_new_one(api: Client, ann: User) -> None:
    book = openpyxl.load_workbook(
        io.BytesIO(make_workbook(HEADER, *([number, "Chair", f"{URL} {OTHER_URL}"] for number in (1, 2))))
    )
    sheet = book.worksheets[0]
    for cell, url in ((sheet["C2"], URL), (sheet["C3"], OTHER_URL)):
        text, cell.hyperlink = cell.value, url
        cell.value = text
    batch = finished(ann, saved(book))
    written = opened(download(api, batch, "results.xlsx", style="replace"))
    new = output_of(batch, URL)
    assert [written[place].value for place in ("C2", "C3")] == [f"{new} {OTHER_URL}"] * 2
    assert [written[place].hyperlink.target for place in ("C2", "C3")] == [new, OTHER_URL]


def test_quotes_in_a_new_url_stay_within_the_text_of_a_formula(api: Client, ann: User) -> None:
    book = openpyxl.load_workbook(
        io.BytesIO(make_workbook(HEADER, [1, "Chair", f'=HYPERLINK("{URL}","photo")']))
    )
    batch = finished(ann, saved(book), {URL: JPEG})
    batch.images.update(external_url='https://cdn.example/"&A1&".jpg', output_key="")
    written = opened(download(api, batch, "results.xlsx", style="replace"))
    assert written["C2"].value == '=HYPERLINK("https://cdn.example/""&A1&"".jpg","photo")'


def test_a_formula_whose_first_cell_is_replaced_leaves_values_and_no_calculation_chain(
    api: Client, ann: User
) -> None:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    names = "".join(f'<x:c t="inlineStr"><x:is><x:t>{name}</x:t></x:is></x:c>' for name in HEADER)
    rows = (
        f'<x:c t="str" s="0"><x:f t="shared" ref="C2:C3" si="0">"https://"&amp;A2</x:f><x:v>{URL}</x:v></x:c>',
        f'<x:c t="str"><x:f t="shared" si="0"/><x:v>{OTHER_URL}</x:v></x:c>',
    )
    body = "".join(
        f"<x:row><x:c><x:v>{number}</x:v></x:c><x:c/>{cell}</x:row>" for number, cell in enumerate(rows)
    )
    xml = (
        f'<?xml version="1.0"?><x:worksheet xmlns:x="{space}"><!-- <row> --><x:dimension ref="A1"/>'
        f'<x:sheetData><x:row spans="1:3">{names}</x:row>{body}</x:sheetData></x:worksheet>'
    )
    data = with_sheet(xml)
    chain = io.BytesIO(data)
    with zipfile.ZipFile(chain, "a") as archive:
        archive.writestr("xl/calcChain.xml", f'<calcChain xmlns="{space}"><c r="C2" i="1"/></calcChain>')
    for part, tag in (
        (
            "[Content_Types].xml",
            '<Override PartName="/xl/calcChain.xml" ContentType="application/x"/></Types>',
        ),
        (
            "xl/_rels/workbook.xml.rels",
            '<Relationship Id="rId99" Type="http://x/calcChain" Target="calcChain.xml"/></Relationships>',
        ),
    ):
        source = zipfile.ZipFile(chain)
        chain = io.BytesIO()
        with zipfile.ZipFile(chain, "w") as archive:
            for name in source.namelist():
                text = source.read(name).decode()
                archive.writestr(name, text.replace(tag[tag.rindex("<") :], tag) if name == part else text)
    batch = finished(ann, chain.getvalue())
    added = zipfile.ZipFile(io.BytesIO(download(api, batch, "results.xlsx")))
    assert "xl/calcChain.xml" in added.namelist()
    assert b'ref="A1:F1"' in added.read(SHEET)
    result = download(api, batch, "results.xlsx", style="replace")
    assert [row[2] for row in values_of(result)] == [HEADER[2], output_of(batch, URL), OTHER_URL]
    archive = zipfile.ZipFile(io.BytesIO(result))
    assert "xl/calcChain.xml" not in archive.namelist()
    assert not [name for name in archive.namelist() if b"calcChain" in archive.read(name)]
    assert b"<x:f" not in archive.read(SHEET)
    assert b"<!-- <row> -->" in archive.read(SHEET)
    assert opened(result)["C3"].value == OTHER_URL

    bare = io.BytesIO()
    with zipfile.ZipFile(bare, "w") as archive, zipfile.ZipFile(chain) as source:
        for name in set(source.namelist()) - {"[Content_Types].xml"}:
            archive.writestr(name, source.read(name))
    batch = finished(ann, bare.getvalue())
    result = download(api, batch, "results.xlsx", style="replace")
    assert "[Content_Types].xml" not in zipfile.ZipFile(io.BytesIO(result)).namelist()
    assert output_of(batch, URL).encode() in zipfile.ZipFile(io.BytesIO(result)).read(SHEET)


def test_a_sheet_in_utf_16_is_written_in_utf_16(api: Client, ann: User) -> None:
    plain = zipfile.ZipFile(io.BytesIO(make_workbook(HEADER, [1, "Chäir", URL]))).read(SHEET).decode()
    data = with_sheet("", [1, "Chäir", URL])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in zipfile.ZipFile(io.BytesIO(data)).namelist():
            content = zipfile.ZipFile(io.BytesIO(data)).read(name)
            archive.writestr(name, plain.encode("utf-16") if name == SHEET else content)
    batch = finished(ann, file.getvalue(), {URL: JPEG})
    result = download(api, batch, "results.xlsx")
    assert zipfile.ZipFile(io.BytesIO(result)).read(SHEET).decode("utf-16").startswith("<worksheet")
    row = next(opened(result).iter_rows(min_row=2, values_only=True))
    assert row == (1, "Chäir", URL, output_of(batch, URL), "completed", None)


def test_texts_that_xml_or_excel_cannot_have_are_escaped_or_named(api: Client, ann: User) -> None:
    bad = "ftp://x/_x005F_x0041_&b_x0002_c.jpg"
    many = " ".join(f"{URL}?{number}" for number in range(800))
    book = make_workbook(HEADER, [1, "Chair", bad], [2, "Table", many])
    batch = ingest(submit(ann, book, "catalogue.xlsx"))
    settle(batch, {f"{URL}?{number}": JPEG for number in range(800)})
    result = download(api, batch, "results.xlsx")
    assert bad.replace("&", "&amp;") + ": " in zipfile.ZipFile(io.BytesIO(result)).read(SHEET).decode()
    table = values_of(result)[2]
    assert table[3:] == [
        "This is too long for a cell of a workbook. Download the results as CSV.",
        "completed",
        "",
    ]
    replaced = values_of(download(api, batch, "results.xlsx", style="replace"))
    assert replaced[2][2] == many


def test_a_sheet_without_room_for_more_columns_is_said_to_have_none(api: Client, ann: User) -> None:
    book = openpyxl.load_workbook(io.BytesIO(make_workbook(HEADER, [1, "Chair", URL])))
    book.worksheets[0]["XFC2"] = "a note"
    batch = finished(ann, saved(book), {URL: JPEG})
    answer = api.get(address_of(batch, "results.xlsx"))
    assert answer.status_code == 400
    assert [error["code"] for error in answer.json()["errors"]] == ["too_many_columns"]
    with pytest.raises(CatalogueError):
        result_xlsx(batch)
    assert batch.source.closed
    written = opened(download(api, batch, "results.xlsx", style="replace"))
    assert (written["C2"].value, written["XFC2"].value) == (output_of(batch, URL), "a note")


@pytest.mark.parametrize(
    ("given", "query", "name"),
    [
        ("Spring.xlsx", {}, "Spring-result.xlsx"),
        ("Spring.XLSM", {"style": "replace"}, "Spring-replaced.xlsm"),
        ("spring", {}, "spring-result.xlsx"),
    ],
)
def test_a_download_is_named_after_the_workbook(
    api: Client, ann: User, given: str, query: dict[str, str], name: str
) -> None:
    batch = ingest(submit(ann, make_workbook(HEADER, [1, "Chair", URL]), given))
    answer: Any = api.get(address_of(batch, "results.xlsx"), query)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["Content-Type"].endswith(".spreadsheetml.sheet")
    b"".join(answer.streaming_content)


def test_a_catalogue_that_is_no_xlsx_has_no_workbook_to_return(api: Client, ann: User) -> None:
    batch = ingest(submit(ann, make_csv((1, "Chair", URL))))
    answer = api.get(address_of(batch, "results.xlsx"))
    assert answer.status_code == 404
    (error,) = answer.json()["errors"]
    assert error["detail"] == "The catalogue is not an XLSX workbook. Download its results as CSV."
    assert "results.xlsx" not in api.get(batch.get_absolute_url()).content.decode()


@pytest.mark.parametrize(
    ("query", "code"), [({"only": "failed"}, "unknown_option"), ({"style": "changes"}, "invalid_choice")]
)
def test_options_that_a_workbook_does_not_have_are_refused(
    api: Client, ann: User, query: dict[str, str], code: str
) -> None:
    batch = finished(ann, make_workbook(HEADER, [1, "Chair", URL]), {})
    answer = api.get(address_of(batch, "results.xlsx"), query)
    assert answer.status_code == 400
    assert [error["code"] for error in answer.json()["errors"]] == [code]


def test_the_page_offers_the_workbook_and_says_how_the_file_was_read(api: Client, ann: User) -> None:
    batch = finished(ann, make_workbook(HEADER, [1, "Chair", URL]), {})
    page = api.get(batch.get_absolute_url()).content.decode()
    assert f'href="{address_of(batch, "results.xlsx")}"' in page
    assert f'href="{address_of(batch, "results.xlsx")}?style=replace"' in page
    assert "Read as xlsx" in page
    assert "(detected)" not in page


def test_the_page_of_an_xls_says_that_it_is_not_returned_as_a_workbook(api: Client, ann: User) -> None:
    data = (Path(__file__).parents[1] / "catalogue" / "merged.xls").read_bytes()
    batch = ingest(submit(ann, data, "catalogue.xls"))
    assert api.get(address_of(batch, "results.xlsx")).status_code == 404
    page = api.get(batch.get_absolute_url()).content.decode()
    assert "Only XLSX workbooks can be returned as workbooks." in page
    assert "results.xlsx" not in page


def test_the_page_states_the_encoding_that_was_guessed(api: Client, ann: User) -> None:
    data = "Serial Number,Product Name,Input Image Urls\n1,Größe,https://shop.example/a.jpg\n".encode(
        "cp1252"
    )
    guessed, chosen = submit(ann, data), submit(ann, data, encoding="cp1252")
    assert "Read as cp1252 (detected)" in api.get(guessed.get_absolute_url()).content.decode()
    page = api.get(chosen.get_absolute_url()).content.decode()
    assert "Read as cp1252" in page
    assert "(detected)" not in page
