"""results.csv: the input again, with what became of its pictures."""

import csv
import io

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest import MonkeyPatch
from pytest_django import DjangoAssertNumQueries, Settings

from products import lifecycle
from products.models import Request
from products.results import result_csv as results
from tests.support.factories import (
    HEADER,
    JPEG,
    OTHER_JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    download,
    ingest,
    make_csv,
    make_workbook,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db

INVALID = "The URL does not start with http:// or https://."


def result_of(api: Client, batch: Request, **query: str) -> bytes:
    return download(api, batch, "results.csv", **query)


def rows_of(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def output_of(batch: Request, url: str) -> str:
    """The address that the result names for a picture."""
    key = batch.images.get(url=url).output_key
    assert key
    return f"http://127.0.0.1:8000/media/{key}"


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


def test_pictures_are_found_however_often_and_late_rows_show_them_again(
    api: Client, ann: User, monkeypatch: MonkeyPatch
) -> None:
    shown = [[7, 1], [1, 1], [], [2], [7], [3, 2, 1], [3], [2], [9], [4, 5, 6], [1], [8, 7], [5]]
    rows = [(n, "Lamp", ",".join(f"{URL}?{k}" for k in numbers)) for n, numbers in enumerate(shown)]
    batch = ingest(submit(ann, make_csv(*rows)))
    settle(
        batch, {f"{URL}?{k}": "timeout" if k % 3 == 0 else (JPEG, OTHER_JPEG)[k % 2] for k in range(1, 10)}
    )
    whole = result_of(api, batch)
    outputs = {image.url: image.output_url for image in batch.images.all()}
    expected = [[outputs[f"{URL}?{k}"] for k in numbers] for numbers in shown]
    assert [row[3] for row in rows_of(whole)[1:]] == [
        ",".join(urls) if any(urls) else "" for urls in expected
    ]
    for size in (1, 2, 3, 5):
        monkeypatch.setattr(results, "CHUNK_ROWS", size)
        assert result_of(api, batch) == whole


def test_a_result_costs_one_query_for_a_thousand_rows(
    ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    batch = ingest(submit(ann, make_csv(*((n, "Lamp", f"{URL}?{n // 2}") for n in range(3000)))))
    with django_assert_num_queries(3):
        assert len(list(results.result_csv(batch))) == 5


def test_a_canceled_request_keeps_what_is_done_in_its_result(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, make_csv((1, "Chair", URL), (2, "Table", OTHER_URL)))), {URL: JPEG})
    lifecycle.cancel(batch)
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
        ["Status", *HEADER, "Output Image Urls", "Status 2", "Error"],
        ["draft", "1", "Chair", URL, "", "pending", ""],
    ]


def test_a_result_with_a_status_column_of_its_own_can_be_uploaded_again(api: Client, ann: User) -> None:
    data = make_csv(("draft", 1, "Chair", URL), header=("Status", *HEADER))
    result = result_of(api, ingest(submit(ann, data)))
    assert result_of(api, ingest(submit(ann, result))) == result


def test_pictures_of_earlier_runs_stay_in_the_result_while_others_are_tried_again(
    api: Client, ann: User
) -> None:
    data = make_csv((1, "Chair", f"{URL} {OTHER_URL}"))
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: "timeout"})
    lifecycle.retry(batch)
    assert rows_of(result_of(api, batch))[1][3:] == [f"{output_of(batch, URL)} ", "pending", ""]


def test_addresses_in_a_result_are_below_the_public_one(api: Client, ann: User, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://pictures.example"
    batch = settle(ingest(submit(ann)), {URL: JPEG})
    output = rows_of(result_of(api, batch))[1][3]
    assert output == f"https://pictures.example/media/{batch.images.get().output_key}"


def test_the_result_is_offered_as_a_file_named_after_the_input(api: Client, ann: User) -> None:
    response = api.get(f"/api/requests/{submit(ann, name='Frühjahr.csv').pk}/results.csv")
    assert response.headers["Content-Type"] == "text/csv"
    assert response.headers["Content-Disposition"] == (
        "attachment; filename*=utf-8''Fr%C3%BChjahr-result.csv"
    )


def test_each_kind_of_download_has_a_name_of_its_own(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, name="spring.csv")), {URL: JPEG})
    names = {
        "results.csv": "spring-result.csv",
        "results.csv?style=replace": "spring-replaced.csv",
        "results.csv?style=changes": "spring-changes.csv",
        "results.csv?only=failed": "spring-failed.csv",
        "results.csv?excel=1": "spring-excel.csv",
        "results.csv?only=failed&excel=1": "spring-failed-excel.csv",
        "images.zip": "spring-pictures.zip",
    }
    for part, name in names.items():
        response = api.get(f"/api/requests/{batch.pk}/{part}")
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"', part


@pytest.mark.parametrize("accept", ["text/csv", "application/zip", "text/html", "*/*"])
@pytest.mark.parametrize("name", ["results.csv", "images.zip"])
def test_files_come_whatever_is_asked_for(api: Client, ann: User, name: str, accept: str) -> None:
    batch = settle(ingest(submit(ann)), {URL: JPEG})
    response = api.get(f"/api/requests/{batch.pk}/{name}", headers={"Accept": accept})
    assert response.status_code == 200


# --- In place of the old URLs ---

SHOPIFY = (
    "Handle,Title,Body (HTML),Variant SKU,Image Src,Image Position,Variant Image\r\n"
    f'lamp,"Lamp, black","<p>15"" wide</p>\r\n<p>=SUM(1)</p>",L-1,{URL},1,{URL}\r\n'
    f'lamp,,,,"{OTHER_URL}",2,\r\n'
    "\r\n"
    f"lamp,,,,{THIRD_URL},3,\r\n"
    f'"chair",Stühle – 椅子 ,, C-1 ,{URL},1,""\r\n'
)
WOOCOMMERCE = (
    'ID,SKU,Name,"Is featured?",Images,"Meta: note"\n'
    f'1,L-1,"Lamp, black",0,"{URL}, {OTHER_URL}","see {URL}, please"\n'
    f"2,C-1,Chair,1,{THIRD_URL},\n"
    f'3,T-1,Table,0,"{URL} , {URL}, {THIRD_URL},",x\n'
    "4,S-1,Sofa,0,,y"
)


def differences(before: bytes, after: bytes) -> set[str]:
    """The columns in which two files of as many rows and cells differ, after a plain reader's opinion."""
    old, new = rows_of(before), rows_of(after)
    assert [len(row) for row in old] == [len(row) for row in new]
    return {
        old[0][column]
        for row, other in zip(old, new, strict=True)
        for column, cell in enumerate(row)
        if cell != other[column]
    }


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte order mark"])
def test_a_shopify_export_with_new_pictures_differs_in_nothing_else(
    api: Client, ann: User, mark: bytes
) -> None:
    data = mark + SHOPIFY.encode()
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: OTHER_JPEG, THIRD_URL: "timeout"})
    result = result_of(api, batch, style="replace")
    first, second = output_of(batch, URL).encode(), output_of(batch, OTHER_URL).encode()
    lines = data.split(b"\r\n")
    lines[2] = lines[2].replace(URL.encode(), first)
    lines[3] = lines[3].replace(OTHER_URL.encode(), second)
    lines[6] = lines[6].replace(URL.encode(), first)
    assert result == b"\r\n".join(lines)
    assert differences(data, result) == {"Image Src", "Variant Image"}


def test_a_woocommerce_export_with_new_pictures_differs_in_nothing_else(api: Client, ann: User) -> None:
    data = WOOCOMMERCE.encode()
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: "timeout", THIRD_URL: OTHER_JPEG})
    result = result_of(api, batch, style="replace").decode()
    first, third = output_of(batch, URL), output_of(batch, THIRD_URL)
    lines = WOOCOMMERCE.split("\n")
    lines[1] = lines[1].replace(f'"{URL}, {OTHER_URL}"', f'"{first}, {OTHER_URL}"')
    lines[2] = lines[2].replace(THIRD_URL, third)
    lines[3] = lines[3].replace(URL, first).replace(THIRD_URL, third)
    assert result == "\n".join(lines)
    assert differences(data, result.encode()) == {"Images"}


def test_what_replaces_relative_paths_and_unquoted_lists_stands_where_they_stood(
    api: Client, ann: User
) -> None:
    data = "sku;name;images\n1;Lamp;/a.jpg, b.jpg\n2;Chair;https://shop.example/c.jpg;https://shop.example/d.jpg\n"
    batch = ingest(submit(ann, data.encode(), base_url="https://shop.example"))
    settle(batch, {f"https://shop.example/{name}.jpg": JPEG for name in "abc"})
    output = output_of(batch, URL)
    assert result_of(api, batch, style="replace").decode() == (
        f"sku;name;images\n1;Lamp;{output}, {output}\n2;Chair;{output};https://shop.example/d.jpg\n"
    )


def test_only_the_failed_rows_can_be_had_with_the_pictures_in_place(api: Client, ann: User) -> None:
    data = make_csv((1, "Chair", URL), (2, "Table", f"{URL},{OTHER_URL}"))
    batch = settle(ingest(submit(ann, data)), {URL: JPEG, OTHER_URL: "timeout"})
    result = rows_of(result_of(api, batch, style="replace", only="failed"))
    assert result == [[*HEADER], ["2", "Table", f"{output_of(batch, URL)},{OTHER_URL}"]]


# --- For Excel ---


def test_for_excel_there_is_a_mark_and_no_formula(api: Client, ann: User) -> None:
    cells = [
        "=1+1",
        "+1+1",
        "@SUM(A1)",
        "-1-1",
        "\t=1",
        "-5.20",
        "+7",
        "-",
        "1e-5",
        "-3%",
        "＝1",
        "a=b",
        "",
        "-a",
    ]
    data = b"sep=;\n" + make_csv(
        ("=x", "Größe", "=lamp.jpg", *cells), header=(*HEADER, *map(str, range(len(cells)))), delimiter=";"
    )
    batch = ingest(submit(ann, data.decode().encode("cp1252", "replace")))
    result = result_of(api, batch, excel="1")
    assert result.startswith("\ufeffSerial Number;".encode())
    row = rows_of(result, ";")[1]
    assert row[:3] == ["'=x", "Größe", "'=lamp.jpg"]
    assert row[3:-3] == [
        *(
            "'=1+1",
            "'+1+1",
            "'@SUM(A1)",
            "'-1-1",
            "'\t'=1",
            "-5.20",
            "+7",
            "'-",
            "1e-5",
            "-3%",
            "?1",
            "a=b",
            "",
        ),
        "'-a",
    ]
    sentence = "This is a formula without a stored value. Open the file in Excel and save it."
    assert row[-3:] == ["", "failed", f"'=lamp.jpg: {sentence}"]


@pytest.mark.parametrize("query", [{"style": "new"}, {"only": "all"}, {"excel": "perhaps"}])
def test_a_form_that_there_is_not_is_refused_by_its_name(
    api: Client, ann: User, query: dict[str, str]
) -> None:
    response = api.get(f"/api/requests/{submit(ann).pk}/results.csv", query)
    assert response.status_code == 400
    assert [error["attr"] for error in response.json()["errors"]] == list(query)


# --- Of a workbook ---


def test_the_result_of_a_workbook_is_a_csv_in_utf_8_with_commas(api: Client, ann: User) -> None:
    data = make_workbook(HEADER, [1, "Größe, neu", f"{URL}\n{OTHER_URL}"])
    batch = settle(ingest(submit(ann, data, "spring.XLSX")), {URL: JPEG, OTHER_URL: "timeout"})
    assert result_of(api, batch).decode() == (
        "Serial Number,Product Name,Input Image Urls,Output Image Urls,Status,Error\r\n"
        f'1,"Größe, neu","{URL}\n{OTHER_URL}","{output_of(batch, URL)}\n",completed_with_errors,'
        f"{OTHER_URL}: It failed with timeout.\r\n"
    )
    response = api.get(f"/api/requests/{batch.pk}/results.csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="spring-result.csv"'
