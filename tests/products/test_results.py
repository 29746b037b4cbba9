"""results.csv and images.zip: the input again, with what became of its pictures."""

import csv
import io
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from products.models import Image, Request
from tests.factories import (
    HEADER,
    JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    ingest,
    make_csv,
    settle,
    submit,
)
from tests.pictures import photo_jpeg

pytestmark = pytest.mark.django_db

OTHER_JPEG = photo_jpeg(32, 24, seed=1)
INVALID = "The URL does not start with http:// or https://."


def download(api: Client, batch: Request, name: str, **query: str) -> bytes:
    response: Any = api.get(f"/api/requests/{batch.pk}/{name}", query)
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def result_of(api: Client, batch: Request, **query: str) -> bytes:
    return download(api, batch, "results.csv", **query)


def rows_of(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def output_of(batch: Request, url: str) -> str:
    """The address that the result names for a picture."""
    key = batch.images.get(url=url).output_key
    assert key
    return f"http://127.0.0.1:8000/media/{key}"


# --- results.csv ---


def test_the_result_is_the_input_and_three_columns(api: Client, ann: User) -> None:
    data = (
        "Price,Serial Number,Product Name,Input Image Urls,Note\n"
        f'1.50,007,"Chair, ""red""","{URL}, {OTHER_URL}"," two\nlines "\n'
        f"2,8,Table,{THIRD_URL},\n"
        f"3,9,None,,x\n"
    ).encode()
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: "timeout", THIRD_URL: OTHER_JPEG})
    assert result_of(api, batch).decode() == (
        "Price,Serial Number,Product Name,Input Image Urls,Note,Output Image Urls,Status,Error\n"
        f'1.50,007,"Chair, ""red""","{URL}, {OTHER_URL}"," two\nlines ",'
        f'"{output_of(batch, URL)}, ",completed_with_errors,{OTHER_URL}: It failed with timeout.\n'
        f"2,8,Table,{THIRD_URL},,{output_of(batch, THIRD_URL)},completed,\n"
        f"3,9,None,,x,,completed,\n"
    )


def test_outputs_stand_where_their_inputs_do(api: Client, ann: User) -> None:
    rows = (1, "Chair", f"{OTHER_URL},{URL},{URL},ftp://c.jpg"), (2, "Table", f"{OTHER_URL},{OTHER_URL}")
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout"})
    output, failure = output_of(batch, URL), f"{OTHER_URL}: It failed with timeout."
    assert [row[3:] for row in rows_of(result_of(api, batch))[1:]] == [
        [f",{output},{output},", "completed_with_errors", f"{failure} | ftp://c.jpg: {INVALID}"],
        ["", "failed", f"{failure} | {failure}"],
    ]


@pytest.mark.parametrize("separator", [", ", " | ", ";", "|", " ", "\n", ",", "; "])
def test_outputs_are_joined_as_the_inputs_are(api: Client, ann: User, separator: str) -> None:
    rows = (1, "One", OTHER_URL), (2, "Two", f"{URL}{separator}{OTHER_URL}"), (3, "One", URL)
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(batch, {URL: JPEG, OTHER_URL: OTHER_JPEG})
    first, second = output_of(batch, URL), output_of(batch, OTHER_URL)
    assert [row[3] for row in rows_of(result_of(api, batch))[1:]] == [
        second,
        f"{first}{separator}{second}",
        first,
    ]


def test_a_list_that_was_not_quoted_is_put_back_into_its_cell(api: Client, ann: User) -> None:
    data = f"Serial Number;Product Name;Input Image Urls\n1;Chair;{URL};{OTHER_URL}\n".encode()
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: OTHER_JPEG})
    assert rows_of(result_of(api, batch), ";")[1] == [
        *("1", "Chair", f"{URL};{OTHER_URL}"),
        *(f"{output_of(batch, URL)};{output_of(batch, OTHER_URL)}", "completed", ""),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_the_input_is_kept(api: Client, ann: User, delimiter: str) -> None:
    data = make_csv((1, "Chair, red", URL), delimiter=delimiter)
    batch = ingest(submit(ann, data))
    assert result_of(api, batch) == data.replace(
        b"Urls\n", delimiter.join(["Urls", "Output Image Urls", "Status", "Error\n"]).encode()
    ).replace(f"{URL}\n".encode(), delimiter.join([URL, "", "pending", "\n"]).encode())


def test_a_declared_delimiter_is_declared_again(api: Client, ann: User) -> None:
    data = b"sep=;\r\n" + make_csv(delimiter=";", lineterminator="\r\n")
    lines = result_of(api, ingest(submit(ann, data))).split(b"\r\n")
    assert lines[0] == b"sep=;"
    assert lines[1] == ";".join([*HEADER, "Output Image Urls", "Status", "Error"]).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte order mark"])
def test_the_byte_order_mark_and_line_ends_of_the_input_are_kept(
    api: Client, ann: User, mark: bytes, end: str
) -> None:
    data = mark + make_csv((1, "Größe 42 – “neu”", URL), lineterminator=end)
    result = result_of(api, ingest(submit(ann, data)))
    header, row, rest = result.removeprefix(mark).decode().split(end)
    assert result.startswith(mark + b"Serial Number,")
    assert header == "Serial Number,Product Name,Input Image Urls,Output Image Urls,Status,Error"
    assert row == f"1,Größe 42 – “neu”,{URL},,pending,"
    assert rest == ""


def test_the_code_page_of_the_input_is_kept(api: Client, ann: User) -> None:
    data = make_csv((1, "Größe 42 €", URL)).decode().encode("cp1252")
    result = result_of(api, ingest(submit(ann, data)))
    assert "1,Größe 42 €,".encode("cp1252") in result


def test_rows_that_are_not_ingested_yet_are_pending(api: Client, ann: User) -> None:
    batch = submit(ann, make_csv((1, "Chair", URL), (2, "Table", "table.jpg"), (3, "Lamp", "")))
    assert [row[3:] for row in rows_of(result_of(api, batch))[1:]] == [
        ["", "pending", ""],
        ["", "pending", ""],
        ["", "completed", ""],
    ]


def test_thousands_of_rows_come_in_order(api: Client, ann: User) -> None:
    data = make_csv(*((number, f"Product {number}", f"{URL}?{number}") for number in range(1999)))
    batch = submit(ann, data)
    ingest(batch)
    result = rows_of(result_of(api, batch))
    assert [row[:3] for row in result] == rows_of(data)


def test_a_canceled_request_keeps_what_is_done_in_its_result(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, make_csv((1, "Chair", URL), (2, "Table", OTHER_URL)))), {URL: JPEG})
    batch.cancel()
    assert [row[3:] for row in rows_of(result_of(api, batch))[1:]] == [
        [output_of(batch, URL), "completed", ""],
        ["", "canceled", ""],
    ]


def test_the_failed_rows_alone_can_be_had(api: Client, ann: User) -> None:
    rows = (
        *((1, "Chair", URL), (2, "Table", f"{URL},{OTHER_URL}"), (3, "Lamp", THIRD_URL)),
        *((4, "Sofa", "sofa.jpg"), (5, "None", "")),
    )
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout"})
    result = rows_of(result_of(api, batch, only="failed"))
    assert [row[0] for row in result] == ["Serial Number", "2", "4"]
    assert result[1:] == [row for row in rows_of(result_of(api, batch)) if row[0] in {"2", "4"}]


def test_a_result_that_is_uploaded_again_gets_its_three_columns_anew(api: Client, ann: User) -> None:
    data = make_csv((1, "Chair", f"{URL}, {OTHER_URL}"), (2, "Table", "table.jpg"))
    first = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: "timeout"})
    result = result_of(api, first)
    second = ingest(submit(ann, result))
    pending = rows_of(result_of(api, second))
    assert pending[0] == rows_of(result)[0]
    assert [row[3:] for row in pending[1:]] == [["", "pending", ""], ["", "failed", f"table.jpg: {INVALID}"]]
    settle(second, {URL: JPEG, OTHER_URL: "timeout"})
    assert result_of(api, second) == result


def test_a_status_column_of_the_input_is_kept(api: Client, ann: User) -> None:
    data = make_csv(("draft", 1, "Chair", URL), header=("Status", *HEADER))
    batch = ingest(submit(ann, data))
    assert rows_of(result_of(api, batch)) == [
        ["Status", *HEADER, "Output Image Urls", "Status", "Error"],
        ["draft", "1", "Chair", URL, "", "pending", ""],
    ]


def test_a_result_with_a_status_column_of_its_own_can_be_uploaded_again(api: Client, ann: User) -> None:
    data = make_csv(("draft", 1, "Chair", URL), header=("Status", *HEADER))
    result = result_of(api, ingest(submit(ann, data)))
    assert result_of(api, ingest(submit(ann, result))) == result


def test_addresses_in_a_result_are_below_the_public_one(api: Client, ann: User, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://pictures.example"
    batch = settle(ingest(submit(ann)), {URL: JPEG})
    output = rows_of(result_of(api, batch))[1][3]
    assert output == f"https://pictures.example/media/{batch.images.get().output_key}"


def test_the_result_is_offered_as_a_file_named_after_the_input(api: Client, ann: User) -> None:
    response = api.get(f"/api/requests/{submit(ann, name='Frühjahr.csv').pk}/results.csv")
    assert response.headers["Content-Type"] == "text/csv"
    assert response.headers["Content-Disposition"] == (
        "attachment; filename*=utf-8''result-Fr%C3%BChjahr.csv"
    )


@pytest.mark.parametrize("accept", ["text/csv", "application/zip", "text/html", "*/*"])
@pytest.mark.parametrize("name", ["results.csv", "images.zip"])
def test_files_come_whatever_is_asked_for(api: Client, ann: User, name: str, accept: str) -> None:
    response = api.get(f"/api/requests/{submit(ann).pk}/{name}", headers={"Accept": accept})
    assert response.status_code == 200


# --- images.zip ---


def zip_of(api: Client, batch: Request) -> dict[str, bytes]:
    """The members of the ZIP in order, each read and checked."""
    with zipfile.ZipFile(io.BytesIO(download(api, batch, "images.zip"))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: archive.read(name) for name in names}


def test_the_zip_holds_the_pictures_in_the_order_of_the_rows(api: Client, ann: User) -> None:
    rows = ("B-7", "Chair", f"{URL} {OTHER_URL} {THIRD_URL}"), ("A-1", "Table", OTHER_URL)
    batch = settle(
        ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout", THIRD_URL: OTHER_JPEG}
    )
    members = zip_of(api, batch)
    assert list(members.items()) == [("B-7-1.jpg", JPEG), ("B-7-3.jpg", OTHER_JPEG)]


def test_names_in_the_zip_are_safe(api: Client, ann: User) -> None:
    serials = ["../../etc/passwd", "/abs", r"C:\win", "a/b", "..", "", "Größe 42", 'a"b<c>|*?', "x" * 300]
    rows = [(serial, "Chair", f"{URL}?{number}") for number, serial in enumerate(serials)]
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(batch, {str(url): JPEG for _, _, url in rows})
    assert list(zip_of(api, batch)) == [
        *("etc_passwd-1.jpg", "abs-1.jpg", "C_win-1.jpg", "a_b-1.jpg", "row-1.jpg", "row-1 (row 6).jpg"),
        *("Größe_42-1.jpg", "a_b_c-1.jpg", f"{'x' * 80}-1.jpg"),
    ]


def test_names_in_the_zip_differ_where_serials_do_not(api: Client, ann: User) -> None:
    serials = ["a-row4", "a", "A", "a", "a-1 (row 4)", "a", "Straße", "STRASSE"]
    rows = [(serial, "Chair", f"{URL} {OTHER_URL}") for serial in serials]
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: OTHER_JPEG})
    members = zip_of(api, batch)
    assert len({name.casefold() for name in members}) == 2 * len(serials)
    assert list(members.values()) == [JPEG, OTHER_JPEG] * len(serials)


def test_the_zip_of_no_pictures_is_an_empty_zip(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann)), {URL: "timeout"})
    assert zip_of(api, batch) == {}
    assert zip_of(api, submit(ann)) == {}


def test_the_zip_holds_no_more_than_a_picture_in_memory(api: Client, ann: User) -> None:
    rows = [(number, "Chair", f"{URL}?{number}") for number in range(5)]
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(batch, {str(url): JPEG for _, _, url in rows})
    response: Any = api.get(f"/api/requests/{batch.pk}/images.zip")
    pieces = list(response.streaming_content)
    assert len(pieces) == len(rows) + 1
    assert max(map(len, pieces)) < 2 * len(JPEG)


def test_the_zip_is_offered_as_a_file_named_after_the_input(api: Client, ann: User) -> None:
    response = api.get(f"/api/requests/{submit(ann, name='spring.csv').pk}/images.zip")
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Content-Disposition"] == 'attachment; filename="spring-images.zip"'


def test_pictures_of_earlier_runs_stay_in_result_and_zip_while_others_are_tried_again(
    api: Client, ann: User
) -> None:
    batch = settle(
        ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL}")))), {URL: JPEG, OTHER_URL: "timeout"}
    )
    batch.retry()
    assert Image.objects.pending().count() == 1
    assert rows_of(result_of(api, batch))[1][3:] == [f"{output_of(batch, URL)} ", "pending", ""]
    assert list(zip_of(api, batch)) == ["1-1.jpg"]
