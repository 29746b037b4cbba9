"""The earlier system's two calls, as its programs know them."""

import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from products.models import Product, Request
from tests.support.factories import JPEG, OTHER_URL, URL, client_of, ingest, make_csv, make_user, settle

pytestmark = pytest.mark.django_db

DATA = make_csv((7, "Chair", f"{URL}, {OTHER_URL}"), ("", "", ""), (8, "Table, red", URL), (9, "None", ""))


def post(client: Client, data: bytes = DATA, path: str = "/upload", **fields: str) -> Any:
    return client.post(path, {"file": SimpleUploadedFile("products.csv", data), **fields})


def row(batch: Request, number: int, *values: str) -> dict[str, str]:
    """A product as the earlier system showed it."""
    names = ("serial_number", "product_name", "input_image_urls", "status", "output_image_urls")
    return {"id": str(Product.id_for(batch.pk, number)), **dict(zip(names, values, strict=True))}


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_upload_answers_the_request_and_its_products_before_they_are_ingested(
    api: Client, prefix: str
) -> None:
    response = post(api, path=f"{prefix}/upload")
    assert response.status_code == 201
    batch = Request.objects.get()
    assert response.json() == {
        **api.get(f"/api/requests/{batch.pk}/").json(),
        "request_id": str(batch.pk),
        "products": [
            row(batch, 1, "7", "Chair", f"{URL},{OTHER_URL}", "pending", ""),
            row(batch, 2, "8", "Table, red", URL, "pending", ""),
            row(batch, 3, "9", "None", "", "completed", ""),
        ],
    }


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_status_answers_the_same_shape(api: Client, prefix: str) -> None:
    uploaded = post(api).json()
    response = api.get(f"{prefix}/status/{uploaded['request_id']}")
    assert response.status_code == 200
    assert response.json() == uploaded


def test_the_status_shows_outcomes_under_the_same_ids_as_the_upload(api: Client) -> None:
    uploaded = post(api).json()
    batch = settle(ingest(Request.objects.get()), {URL: JPEG, OTHER_URL: "timeout"})
    output = f"http://testserver/media/{batch.images.get(url=URL).output_key}"
    products = api.get(f"/status/{batch.pk}").json()["products"]
    assert products == [
        row(batch, 1, "7", "Chair", f"{URL},{OTHER_URL}", "completed_with_errors", f"{output},"),
        row(batch, 2, "8", "Table, red", URL, "completed", output),
        row(batch, 3, "9", "None", "", "completed", ""),
    ]
    ids = [product["id"] for product in products]
    assert ids == [product["id"] for product in uploaded["products"]]
    assert ids == [str(pk) for pk in batch.products.order_by("row_number").values_list("pk", flat=True)]


def test_the_first_100_products_are_shown(api: Client) -> None:
    data = make_csv(*((number, f"Product {number}", URL) for number in range(1, 121)))
    answer = post(api, data).json()
    numbers = [str(number) for number in range(1, 101)]
    assert [product["serial_number"] for product in answer["products"]] == numbers
    ingest(Request.objects.get())
    later = api.get(f"/status/{answer['request_id']}").json()["products"]
    assert [product["serial_number"] for product in later] == numbers


def test_an_upload_takes_the_file_and_no_options(api: Client) -> None:
    answer = post(api, quality="0", strict="true").json()
    options = {"quality": 50, "format": "jpeg", "max_width": None, "max_height": None}
    assert answer["options"].items() >= options.items()


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "empty_file"), (b"a,b\n1,2\n", "missing_column"), (b"\x89PNG\r\n\x1a\n\0", "not_text")],
)
def test_a_file_that_is_no_catalogue_is_refused(api: Client, data: bytes, code: str) -> None:
    response = post(api, data)
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert (error["code"], error["attr"]) == (code, "file")
    assert not Request.objects.exists()


def test_an_upload_without_a_file_is_refused(api: Client) -> None:
    response = api.post("/upload", {"name": "products.csv"})
    assert response.status_code == 400
    assert response.json()["errors"] == [
        {"code": "required", "detail": "No file was submitted.", "attr": "file"},
    ]


@pytest.mark.parametrize("path", ["/upload", "/api/upload"])
def test_an_upload_needs_a_user(client: Client, path: str) -> None:
    assert post(client, path=path).status_code == 401
    assert not Request.objects.exists()


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_status_that_is_not_there_or_not_ones_own_is_not_found(api: Client, prefix: str) -> None:
    foreign = post(client_of(make_user("bob"))).json()["request_id"]
    for request_id in (foreign, str(uuid.uuid4()), "17", "nonsense", "a.b"):
        response = api.get(f"{prefix}/status/{request_id}")
        assert response.status_code == 404
        assert response.json() == {
            "type": "client_error",
            "errors": [{"code": "not_found", "detail": "Not found.", "attr": None}],
        }
