"""Workbooks of other formats than XLSX."""

import errno
import io
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from products.catalogue import Catalogue, CatalogueError, conversion, preview
from tests.support.factories import HEADER, OTHER_URL, URL

MERGED = Path(__file__).parent / "merged.xls"  # a serial number in three rows, a name in two
#: The same beside a blank column and below a blank row.
MERGED_BESIDE_BLANKS = MERGED.with_name("merged_beside_blanks.xls")
WIDE = Path(__file__).parent / "wide.xls"  # a sheet with its first and its very last cell


def ods(content: str) -> bytes:
    """Return an ODS workbook with this content.xml."""
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    space = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    manifest = (
        f'<manifest:manifest xmlns:manifest="{space}"><manifest:file-entry manifest:full-path="/" '
        f'manifest:media-type="{kind}"/></manifest:manifest>'
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", kind, zipfile.ZIP_STORED)
        archive.writestr("META-INF/manifest.xml", manifest)
        archive.writestr("content.xml", content)
    return file.getvalue()


def content_of(*rows: str) -> str:
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    return (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>"
        f'<table:table table:name="Products">{table}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )


def cells(*values: str, more: str = "") -> str:
    return "".join(
        f'<table:table-cell office:value-type="string" {more}><text:p>{value}</text:p></table:table-cell>'
        for value in values
    )


def refusal_of(data: bytes) -> str:
    with pytest.raises(CatalogueError) as refused:
        Catalogue(io.BytesIO(data))
    (problem,) = refused.value.problems
    assert "Excel" not in problem.detail
    return problem.code


def test_an_ods_workbook_is_read() -> None:
    data = ods(content_of(cells(*HEADER), "", cells("1", "Lamp", f"{URL}|{OTHER_URL}")))
    catalogue = Catalogue(io.BytesIO(data))
    assert [(row.line, row.serial_number, row.product_name, row.image_urls) for row in catalogue] == [
        (3, "1", "Lamp", [URL, OTHER_URL])
    ]
    assert (catalogue.kind, preview(catalogue).encoding, catalogue.sheet) == ("ods", "ods", "Products")


def test_merged_cells_of_an_xls_have_their_value_in_each_row() -> None:
    catalogue = Catalogue(io.BytesIO(MERGED.read_bytes()))
    found = [(row.line, row.serial_number, row.product_name, row.image_urls) for row in catalogue]
    urls = [f"https://shop.example/{letter}.jpg" for letter in "abcd"]
    assert found == [
        (2, "A-1", "Lamp", [urls[0]]),
        (3, "A-1", "Lamp", [urls[1]]),
        (4, "A-1", "Lamp", [urls[2]]),
        (6, "A-2", "Chair", [urls[3]]),
    ]


def test_merged_cells_beside_blank_columns_stay_in_their_columns() -> None:
    catalogue = Catalogue(io.BytesIO(MERGED_BESIDE_BLANKS.read_bytes()))
    found = [(row.line, row.serial_number, row.product_name, row.image_urls) for row in catalogue]
    urls = [f"https://shop.example/{letter}.jpg" for letter in "abc"]
    assert found == [
        (3, "A-1", "Lamp", [urls[0]]),
        (4, "A-1", "Lamp", [urls[1]]),
        (5, "A-1", "Lamp", [urls[2]]),
    ]


def test_lines_are_counted_from_the_first_row_of_the_sheet() -> None:
    data = ods(content_of("", "", cells(*HEADER), "", cells("1", "Lamp", URL)))
    catalogue = Catalogue(io.BytesIO(data))
    assert (catalogue.header_line, [row.line for row in catalogue]) == (3, [5])


def test_the_child_has_no_secrets_and_few_others_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    run = subprocess.run
    environments: list[dict[str, str]] = []
    counts: list[int] = []
    running: list[None] = []

    def watched(*args: Any, **options: Any) -> Any:
        environments.append(options["env"])
        running.append(None)
        try:
            counts.append(len(running))
            return run(*args, **options)
        finally:
            running.pop()

    monkeypatch.setattr(subprocess, "run", watched)
    data = ods(content_of(cells(*HEADER), cells("1", "Lamp", URL)))
    with ThreadPoolExecutor(conversion.MAX_CHILDREN + 2) as pool:
        files = [io.BytesIO(data) for _ in range(conversion.MAX_CHILDREN + 2)]
        assert [len(list(catalogue)) for catalogue in pool.map(Catalogue, files)] == [1] * len(files)
    assert max(counts) <= conversion.MAX_CHILDREN
    assert {frozenset(environment) for environment in environments} == {frozenset({"PATH", "PYTHONPATH"})}


@pytest.mark.parametrize("data", [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), ods("<nothing")])
def test_a_damaged_workbook_is_refused(data: bytes) -> None:
    assert refusal_of(data) == "unreadable_workbook"


@pytest.mark.needs("more time")
def test_a_small_workbook_that_takes_gigabytes_is_refused() -> None:
    assert WIDE.stat().st_size < 10_000
    assert refusal_of(WIDE.read_bytes()) == "workbook_too_large"
    repeated = cells("x", more='table:number-columns-repeated="16384"')
    data = ods(content_of(cells(*HEADER), *[repeated] * 5000))
    assert len(data) < 50_000
    assert refusal_of(data) == "workbook_too_large"


def test_a_conversion_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "TIMEOUT_SECONDS", 0.01)
    assert refusal_of(ods(content_of(cells(*HEADER)))) == "workbook_too_large"


def test_a_disk_that_is_full_is_no_fault_of_the_workbook(tmp_path: Path) -> None:
    book = tmp_path / "a.ods"
    book.write_bytes(ods(content_of(*[cells("1", "Lamp", "https://shop.example/a.jpg")] * 2000)))
    with book.open("rb") as source, Path("/dev/full").open("wb") as target, pytest.raises(OSError) as raised:
        conversion._convert(source, target)
    assert raised.value.errno == errno.ENOSPC
