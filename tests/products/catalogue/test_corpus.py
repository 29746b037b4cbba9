"""Catalogues as shops and spreadsheets write them, each with the products expected in it.

`tests/catalogues` has the files. Beside each lies what was written down by hand: the options of its upload,
encoding, delimiter and columns to be found, products as serial number, name and URLs, and warnings as line,
column and code.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from products import lifecycle
from products.models import Image, Request
from tests.support.factories import JPEG, address_of, download, ingest, settle, submit, upload

pytestmark = pytest.mark.django_db

FOLDER = Path(__file__).resolve().parent / "files"
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and what is expected in it."""

    name: str
    data: bytes
    options: dict[str, Any]
    encoding: str
    delimiter: str | None
    columns: dict[str, Any]
    products: list[list[Any]]
    warnings: list[list[Any]]

    @property
    def form(self) -> dict[str, str]:
        """The options as a form sends them."""
        texts = {name: value for name, value in self.options.items() if isinstance(value, str)}
        return texts | {name: json.dumps(self.options[name]) for name in self.options.keys() - texts.keys()}

    @property
    def is_workbook(self) -> bool:
        return self.encoding in {"xlsx", "xls", "ods"}


def load(expected: Path) -> Case:
    path = expected.with_suffix("")
    return Case(path.name, path.read_bytes(), **json.loads(expected.read_text(encoding="utf-8")))


CASES = [load(path) for path in sorted(FOLDER.glob("*.json"))]


def test_every_file_has_its_expectations_and_there_are_enough() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix != ".json"}
    assert files == {case.name for case in CASES}
    assert len(files) >= 40


def ingested(api: Client, case: Case, data: bytes | None = None, **changed: str) -> Request:
    """Upload the file through the API, ingest it and return its Request."""
    response = upload(api, data or case.data, case.name, **(case.form | changed))
    assert response.status_code == 201, response.content
    return ingest(Request.objects.get(pk=response.json()["id"]))


def products_of(api: Client, batch: Request) -> list[list[Any]]:
    rows = api.get(address_of(batch, "products/"), {"page_size": 1000}).json()["results"]
    return [
        [row["serial_number"], row["product_name"], [image["url"] for image in row["images"]]] for row in rows
    ]


def settled(batch: Request) -> Request:
    """Complete every second pending picture and fail the others."""
    urls = batch.images.pending().order_by("number").values_list("url", flat=True)
    return settle(batch, {url: "timeout" if number % 2 else JPEG for number, url in enumerate(urls)})


def result_of(api: Client, batch: Request, **query: str) -> bytes:
    return download(api, batch, "results.csv", **query)


def table_of(case: Case, data: bytes) -> list[list[str]]:
    """Return a result's rows as the csv module reads them, without blank ones and a `sep=` line."""
    encoding = "utf-8" if case.is_workbook else case.encoding
    # cp1252 knows not all bytes; which characters they become is of no interest here.
    text = data.decode(encoding, errors="replace").removeprefix("\ufeff")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=case.delimiter or ","))
    named = [row for row in rows if any(cell.strip() for cell in row)]
    return [row for row in named if not row[0].startswith("sep=")]


def fitted(cells: list[str], width: int, delimiter: str) -> list[str]:
    """Return as many cells as the header has: padded, or with the surplus joined into the last one."""
    if len(cells) > width:
        return [*cells[: width - 1], delimiter.join(cells[width - 1 :])]
    return cells + [""] * (width - len(cells))


@pytest.mark.sample("case", by=lambda case: (case.encoding, case.delimiter))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_catalogue_is_read_as_expected_and_its_results_can_be_uploaded(api: Client, case: Case) -> None:
    """One upload is asked for everything, since it is the uploads that take time."""
    batch = ingested(api, case)
    assert products_of(api, batch) == case.products
    assert_preview_shows_how(api, case)
    if not case.is_workbook:
        assert_replaces_nothing_yet(case, result_of(api, batch, style="replace"))
    if batch.images_pending == 1:  # which is completed otherwise
        settle(batch, {batch.images.pending().get().url: "timeout"})
        assert_failed_rows_can_be_uploaded(api, case, batch)
        lifecycle.retry(batch)
        batch.refresh_from_db()
    settled(batch)
    result = result_of(api, batch)
    assert_is_input_and_three_columns(case, batch, result)
    assert_suits_excel(case, result_of(api, batch, excel="1"))
    assert_can_be_uploaded_again(api, case, result)
    if batch.images.failed():
        assert_failed_rows_can_be_uploaded(api, case, batch)
        lifecycle.retry(batch)
        batch.refresh_from_db()
        settle(batch, dict.fromkeys(batch.images.pending().values_list("url", flat=True), JPEG))
    if not case.is_workbook:
        assert_replaces_urls(api, case, batch)


def assert_preview_shows_how(api: Client, case: Case) -> None:
    body = {"file": SimpleUploadedFile(case.name, case.data), **case.form}
    response = api.post("/api/requests/preview/", body)
    assert response.status_code == 200, response.content
    shown = response.json()
    assert {name: shown[name] for name in ("encoding", "delimiter", "columns")} == {
        "encoding": case.encoding,
        "delimiter": case.delimiter,
        "columns": case.columns,
    }
    urls = [url for _serial, _name, urls in case.products for url in urls]
    assert shown["products"] == {"total": len(case.products)}
    assert shown["images"] == {"total": len(urls), "distinct": len(set(urls))}
    found = [[row["serial_number"], row["product_name"], row["image_urls"]] for row in shown["rows"]]
    assert found == case.products
    warnings = [[warning["line"], warning["column"], warning["code"]] for warning in shown["warnings"]]
    assert sorted(warnings, key=str) == sorted(case.warnings, key=str)


def assert_can_be_uploaded_again(api: Client, case: Case, result: bytes) -> None:
    """Check that the result, uploaded as a catalogue, has the same products and gives the same result."""
    second = ingested(api, case, result, **encoding_of_result(case))
    assert products_of(api, second) == case.products
    again = table_of(case, result_of(api, second))
    assert [row[:-3] for row in again] == [row[:-3] for row in table_of(case, result)]
    at = header_at(again)
    assert again[: at + 1] == table_of(case, result)[: at + 1]
    assert {row[-3] for row in again[at + 1 :] if len(row) == len(again[at])} == {""}
    assert result_of(api, settled(second)) == result


def encoding_of_result(case: Case) -> dict[str, str]:
    """Return what has to be said otherwise than of the file: the result of a workbook is a CSV."""
    return {"encoding": ""} if case.is_workbook else {}


def header_at(table: list[list[str]]) -> int:
    """Return the number of lines above the header of a result."""
    names = [[name.removesuffix(" 2") for name in row[-3:]] for row in table]
    return names.index(RESULT_COLUMNS)


def assert_is_input_and_three_columns(case: Case, batch: Request, result: bytes) -> None:
    table = table_of(case, result)
    header = table[header_at(table)]
    rows = [row for row in table[header_at(table) + 1 :] if len(row) == len(header)]
    if case.is_workbook:
        assert len(table) == 1 + len(rows)
    else:
        given = table_of(case, case.data)
        for row, cells in zip(table, given, strict=True):
            is_skipped = row == cells  # title lines, second headers and sums
            fitting = fitted(cells, len(given[header_at(table)]), case.delimiter or "")
            assert is_skipped or row[:-3] == fitting[: len(header) - 3]
    keys = {image.url: image.output_key for image in batch.images.all()}
    for row, (_serial, _name, urls) in zip(rows, case.products, strict=True):
        outputs = [keys[url] for url in urls if keys[url]]
        assert [row[-3].count(key) for key in set(outputs)] == [outputs.count(key) for key in set(outputs)]


def assert_suits_excel(case: Case, result: bytes) -> None:
    """A mark of the encoding, and no formulas."""
    assert result.startswith(b"\xef\xbb\xbf")
    text = result.decode("utf-8-sig")
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=case.delimiter or ","):
        for cell in row:
            assert cell[:1] not in set("=+-@") or cell == "-5"


def assert_replaces_nothing_yet(case: Case, result: bytes) -> None:
    """Byte for byte the input, but for the columns of an earlier result, which go."""
    if table_of(case, case.data)[0][-3:] == RESULT_COLUMNS:
        assert table_of(case, result) == [row[:-3] for row in table_of(case, case.data)]
    else:
        assert result == case.data


def assert_replaces_urls(api: Client, case: Case, batch: Request) -> None:
    replaced = ingested(api, case, result_of(api, batch, style="replace"))
    outputs = {image.url: image.output_url or image.url for image in batch.images.all()}
    assert products_of(api, replaced) == [
        [serial, name, [outputs[url] for url in urls]] for serial, name, urls in case.products
    ]


def assert_failed_rows_can_be_uploaded(api: Client, case: Case, batch: Request) -> None:
    bad = set(batch.images.failed().values_list("url", flat=True))
    failed = result_of(api, batch, only="failed")
    again = ingested(api, case, failed, **encoding_of_result(case))
    expected = [[serial, urls] for serial, _name, urls in case.products if bad & set(urls)]
    assert [[serial, urls] for serial, _name, urls in products_of(api, again)] == expected


def test_two_uploads_that_are_read_differently_are_not_the_same(ann: User) -> None:
    data = (FOLDER / "relative-lists.csv").read_bytes()
    near = submit(ann, data, base_url="https://near.example")
    far = submit(ann, data, base_url="https://far.example")
    assert near.fingerprint != far.fingerprint
    assert Image.objects.count() == 0
