"""POST /api/requests/preview/ shows how a catalogue would be read, without storing or fetching anything."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from products.models import Request
from tests.support.factories import HEADER, OTHER_URL, URL, make_csv, make_workbook, stored_catalogues
from tests.support.names import Names

pytestmark = pytest.mark.django_db


def post(api: Client, data: bytes, **options: Any) -> Any:
    """Return the response, and check that nothing was stored."""
    before = stored_catalogues()
    body = {"file": SimpleUploadedFile("catalogue.csv", data), **options}
    response = api.post("/api/requests/preview/", body)
    assert not Request.objects.exists()
    assert stored_catalogues() == before
    return response


def preview_of(api: Client, data: bytes, **options: Any) -> Any:
    response = post(api, data, **options)
    assert response.status_code == 200, response.content
    return response.json()


def errors_of(api: Client, data: bytes, **options: Any) -> list[tuple[str, str]]:
    response = post(api, data, **options)
    assert response.status_code == 400
    return [(error["attr"], error["code"]) for error in response.json()["errors"]]


def warnings_of(shown: Any) -> list[tuple[int | None, int | None, str]]:
    return [(warning["line"], warning["column"], warning["code"]) for warning in shown["warnings"]]


def test_a_preview_warns_of_private_addresses_and_looks_nothing_up(
    api: Client, settings: Settings, names: Names
) -> None:
    settings.FETCH_ALLOWED_NETWORKS = []
    urls = "http://192.168.1.5:8080/a.jpg http://192.168.1.5:8080/b.jpg http://[::1]/c.jpg https://gone.test/d.jpg"
    shown = preview_of(api, make_csv((1, "Lamp", urls)))
    reason = "is in a private network, where this service does not fetch."
    assert warnings_of(shown) == [(None, None, "blocked_address")] * 2
    assert [warning["detail"] for warning in shown["warnings"]] == [
        f"192.168.1.5 {reason} Its 2 pictures will fail.",
        f"::1 {reason} Its picture will fail.",
    ]
    assert names.lookups == []


def test_a_preview_has_the_promised_shape(api: Client) -> None:
    data = "\ufeffID;SKU;Name;Images\r\n1;L-1;Stühle;" + f'"{URL}, {OTHER_URL}"\r\n2;C-1;;{URL}\r\n'
    assert preview_of(api, data.encode()) == {
        "encoding": "utf-8",
        "delimiter": ";",
        "columns": {"serial": "SKU", "name": "Name", "images": ["Images"]},
        "products": {"total": 2},
        "images": {"total": 3, "distinct": 2},
        "hosts": {"shop.example": 2},
        "rows": [
            {
                "row_number": 1,
                "serial_number": "L-1",
                "product_name": "Stühle",
                "image_urls": [URL, OTHER_URL],
            },
            {"row_number": 2, "serial_number": "C-1", "product_name": "", "image_urls": [URL]},
        ],
        "warnings": [
            {
                "line": 1,
                "column": 1,
                "code": "unused_column",
                "detail": "The column “ID” is not used because another column fits better.",
            },
            {"line": 3, "column": 3, "code": "blank_name", "detail": "The row has no product name."},
        ],
        "sheet": None,
        "sheets": [],
        "profile": None,
    }


def test_the_first_20_rows_are_shown_and_all_are_counted(api: Client) -> None:
    rows = [(number, "Lamp", f"{URL}?{number % 30}") for number in range(1, 51)]
    shown = preview_of(api, make_csv(*rows))
    assert [row["row_number"] for row in shown["rows"]] == list(range(1, 21))
    assert shown["products"] == {"total": 50}
    assert shown["images"] == {"total": 50, "distinct": 30}


def test_hosts_are_those_that_would_be_asked_the_most_asked_first(api: Client) -> None:
    urls = "http://a.example:8080/1 http://A.example:8080/2 https://b.example/1 ftp://c.example/1 https://b.example/1"
    assert list(preview_of(api, make_csv((1, "Lamp", urls)))["hosts"].items()) == [
        ("a.example:8080", 2),
        ("b.example", 1),
    ]
    many = " ".join(
        f"https://{number}.example/{each}" for number in range(150) for each in range(1 + number % 2)
    )
    hosts = preview_of(api, make_csv((1, "Lamp", many)))["hosts"]
    assert len(hosts) == 100
    assert list(hosts.values())[:75] == [2] * 75


def test_what_cannot_be_told_is_a_warning_with_line_and_column(api: Client) -> None:
    rows = [
        *((1, "Lamp", URL + OTHER_URL), (2, "Chair", f"{URL}, b.jpg"), (1, "Sofa", URL), ("", "Stool", "")),
        (5, "", "table.jpg"),
    ]
    assert warnings_of(preview_of(api, make_csv(*rows))) == [
        *((2, 3, "glued_urls"), (3, 3, "missing_scheme"), (4, 1, "duplicate_serial"), (5, 1, "blank_serial")),
        *((6, 2, "blank_name"), (6, 3, "invalid_url")),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "https://res.cloudinary.com/demo/image/fetch/w_90,h_90/https://shop.example/a,b.png",
            f"{URL}, {OTHER_URL}",
        ),
        *(
            "https://shop.example/cdn-cgi/image/width=80,quality=75/https://shop.example/uploads/lamp.jpeg",
            URL,
        ),
        *(
            "https://static.wixstatic.com/media/a1_2f.jpg/v1/fill/w_303,h_170,al_c,q_80/a1_2f.jpg",
            f"{URL}|{URL}",
        ),
        *(
            "https://shop.example/Lamp black, large.jpg",
            "https://shop.example/?w=1,2&url=http://a.example/a.jpg",
        ),
        "https://web.archive.example/web/2020/https://shop.example/a.jpg",
    ],
)
def test_urls_with_commas_or_urls_in_them_are_no_cause_for_warnings(api: Client, cell: str) -> None:
    assert preview_of(api, make_csv((1, "Lamp", cell)))["warnings"] == []


def test_the_rows_of_one_product_are_no_duplicates(api: Client) -> None:
    rows = [
        ("lamp", "Lamp", URL),
        ("lamp", "", OTHER_URL),
        ("lamp", "", ""),
        ("chair", "Chair", ""),
        ("lamp", "", ""),
    ]
    shown = preview_of(api, make_csv(*rows))
    assert [row["product_name"] for row in shown["rows"]] == ["Lamp", "Lamp", "Lamp", "Chair", ""]
    assert warnings_of(shown) == [(6, 1, "duplicate_serial"), (6, 2, "blank_name")]
    assert shown["warnings"][0]["detail"] == "The serial number “lamp” is already used in line 2."


def test_a_frequent_warning_does_not_hide_the_others(api: Client) -> None:
    rows = [*((number, "Lamp", f"{number}.jpg") for number in range(1000)), (1000, "", URL)]
    shown = preview_of(api, make_csv(*rows))
    codes = [warning["code"] for warning in shown["warnings"]]
    assert codes == ["invalid_url"] * 20 + ["blank_name", "more"]
    assert shown["warnings"][-1]["detail"] == (
        "There are 1,001 warnings. The first 20 of each kind are shown."
    )


def test_a_workbook_has_no_delimiter(api: Client) -> None:
    shown = preview_of(api, make_workbook(HEADER, [1, "Lamp", URL]))
    assert (shown["encoding"], shown["delimiter"]) == ("xlsx", None)


def test_options_say_how_it_is_read(api: Client) -> None:
    data = "Nr;Artikel;Foto;Name\n1;Лампа;a.jpg,b.jpg;x\n".encode("cp1251")
    columns = {"serial": "nr", "name": "ARTIKEL", "images": ["Foto"]}
    shown = preview_of(
        api, data, encoding="windows-1251", base_url="https://shop.example/p/", columns=json.dumps(columns)
    )
    assert (shown["encoding"], shown["columns"]) == (
        "cp1251",
        {"serial": "Nr", "name": "Artikel", "images": ["Foto"]},
    )
    assert shown["rows"][0]["product_name"] == "Лампа"
    assert shown["rows"][0]["image_urls"] == ["https://shop.example/p/a.jpg", "https://shop.example/p/b.jpg"]


def test_options_that_a_form_leaves_blank_are_found_out(api: Client) -> None:
    shown = preview_of(api, make_csv(), encoding="", columns="", base_url="")
    assert shown["columns"]["serial"] == "Serial Number"


@pytest.mark.parametrize("path", ["/api/requests/preview/", "/api/requests/"])
@pytest.mark.parametrize(
    ("options", "attr"),
    [
        ({"encoding": "utf-7"}, "encoding"),
        ({"encoding": "nonsense"}, "encoding"),
        ({"base_url": "shop.example"}, "base_url"),
        ({"base_url": "https://shop.example/?path="}, "base_url"),
        ({"base_url": "https://u:p@shop.example/"}, "base_url"),
        ({"columns": "{"}, "columns"),
        ({"columns": "[" * 100_000}, "columns"),
        ({"columns": "[]"}, "columns.non_field_errors"),
        ({"columns": '{"serial": ["a"]}'}, "columns.serial"),
        ({"columns": '{"images": "a"}'}, "columns.images"),
        ({"columns": '{"images": []}'}, "columns.images"),
        ({"columns": '{"image": ["a"]}'}, "columns.image"),
        ({"colums": "{}"}, "colums"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(
    api: Client, path: str, options: dict[str, str], attr: str
) -> None:
    body = {"file": SimpleUploadedFile("catalogue.csv", make_csv()), **options}
    response = api.post(path, body)
    assert response.status_code == 400, response.content
    assert [error["attr"] for error in response.json()["errors"]] == [attr]


def test_a_file_that_an_upload_would_refuse_is_refused(api: Client, settings: Settings) -> None:
    assert errors_of(api, b"") == [("file", "empty_file")]
    assert errors_of(api, make_csv((1, 2, 3), header=("A", "B", "C"))) == [("file", "missing_column")]
    assert errors_of(api, make_csv(), columns='{"images": ["Foto"]}') == [("file", "missing_column")]
    settings.REQUEST_MAX_IMAGES = 1
    assert errors_of(api, make_csv((1, "Lamp", f"{URL} {URL}"))) == [("file", "too_many_images")]
    settings.UPLOAD_MAX_BYTES = 10
    assert errors_of(api, make_csv()) == [("file", "file_too_large")]


def test_a_preview_names_the_sheet_and_the_others(api: Client) -> None:
    data = make_workbook(HEADER, (1, "Lamp", URL))
    shown = preview_of(api, data)
    assert (shown["sheet"], shown["sheets"]) == ("Sheet", ["Sheet", "Notes"])
    assert preview_of(api, data, sheet="1")["sheet"] == "Sheet"
    assert errors_of(api, data, sheet="Prices") == [("file", "unknown_sheet")]
    assert preview_of(api, make_csv((1, "Lamp", URL)))["sheet"] is None


def test_a_preview_shows_what_strict_would_refuse(api: Client) -> None:
    shown = preview_of(api, make_csv((1, "Lamp", "lamp.jpg")), strict="true", quality="80")
    assert warnings_of(shown) == [(2, 3, "invalid_url")]


def test_whoever_is_not_known_gets_no_preview(client: Client) -> None:
    assert post(client, make_csv()).status_code in {401, 403}
