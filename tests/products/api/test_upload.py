"""POST /api/requests/: what is accepted, what is refused, and what is kept of it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from pytest_django import Settings

from products.models import Request
from tests.support import pictures
from tests.support.factories import (
    HEADER,
    OTHER_URL,
    URL,
    image_counts,
    ingest,
    make_csv,
    stored_catalogues,
    upload,
)

pytestmark = pytest.mark.django_db

BAD_CELLS = make_csv(
    (1, "Chair", URL),
    (2, "Table", f"{OTHER_URL}, ftp://shop.example/c.jpg"),
    (3, "Lamp", "lamp.jpg"),
    (4, "Two\nlines", "https:///d.jpg"),
    (5, "Short"),
)


@pytest.fixture
def nothing_stored() -> Iterator[None]:
    """Check at the end that the test has left neither a row nor a file."""
    before = stored_catalogues()
    yield
    assert not Request.objects.exists()
    assert stored_catalogues() == before


def errors_of(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 400
    answer = response.json()
    assert set(answer) == {"type", "errors"}
    assert answer["type"] == "validation_error"
    errors: list[dict[str, Any]] = answer["errors"]
    return errors


def error_of(response: Any) -> dict[str, Any]:
    (error,) = errors_of(response)
    return error


# --- What an upload answers ---


def test_an_upload_with_every_option_is_answered_with_the_request_as_promised(api: Client) -> None:
    data = make_csv((1, "Chair", URL), (2, "Table", OTHER_URL))
    options = {"quality": 80, "format": "webp", "max_width": 800, "max_height": 600, "strict": "true"}
    response = upload(api, data, "Spring 2024.csv", **options)
    assert response.status_code == 201
    batch = Request.objects.get()
    answer = response.json()
    created_at = parse_datetime(answer.pop("created_at"))
    assert created_at == batch.created_at
    assert timezone.now() - created_at < timedelta(minutes=1)
    address = f"http://testserver/api/requests/{batch.pk}/"
    assert answer == {
        "id": str(batch.pk),
        "status": "pending",
        "filename": "Spring 2024.csv",
        "name": "",
        "note": "",
        "options": {
            **{"quality": 80, "format": "webp", "max_width": 800, "max_height": 600, "force": False},
            **dict.fromkeys(("width", "height", "background", "min_width", "min_height")),
            **{"fit": "inside", "trim": False, "names": "hash", "renditions": [], "effort": "balanced"},
            **{"encoding": "", "columns": {}, "base_url": "", "sheet": "", "strict": True},
        },
        "profile": None,
        "products": {"total": 2},
        "ingested": False,
        "run": 1,
        "images": image_counts(),
        "bytes": {"source": 0, "output": 0, "unchanged": 0},
        "started_at": None,
        "finished_at": None,
        "last_progress_at": None,
        "eta_seconds": None,
        "per_second": 0.0,
        "waiting_for": [],
        "runs": [
            {
                "run": 1,
                "by": "upload",
                "started_at": None,
                "finished_at": None,
                "completed": 0,
                "failed": 0,
                "bytes": {"source": 0, "output": 0},
                "canceled": False,
            }
        ],
        "urls": {
            "page": f"http://testserver/requests/{batch.pk}/",
            "products": f"{address}products/",
            "images": f"{address}images/",
            "results_csv": f"{address}results.csv",
            "images_zip": f"{address}images.zip",
        },
    }


def test_without_options_pictures_become_jpeg_of_quality_50_in_their_own_size(api: Client) -> None:
    answer = upload(api, make_csv()).json()
    options = {"quality": 50, "format": "jpeg", "max_width": None, "max_height": None}
    assert answer["options"].items() >= options.items()


def test_options_that_a_form_leaves_blank_count_as_not_given(api: Client) -> None:
    answer = upload(api, make_csv(), max_width="", max_height="").json()
    assert answer["options"]["max_width"] is None
    assert answer["options"]["max_height"] is None


def test_the_file_is_kept_byte_for_byte_under_the_id_of_the_request(api: Client) -> None:
    data = b"\xef\xbb\xbf" + make_csv((1, "Größe", URL), lineterminator="\r\n")
    upload(api, data, "../../etc/passwd")
    batch = Request.objects.get()
    assert batch.filename == "passwd"
    assert batch.source.name == f"{batch.pk}.csv"
    with batch.source.open("rb") as file:
        assert file.read() == data


# --- What is refused ---


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "0"),
        ("quality", "96"),
        ("quality", "high"),
        ("format", "gif"),
        ("max_width", "0"),
        ("max_width", "65536"),
        ("max_height", "-1"),
        ("max_height", "1.5"),
        ("strict", "perhaps"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(api: Client, name: str, value: str) -> None:
    error = error_of(upload(api, make_csv(), **{name: value}))
    assert error["attr"] == name
    assert error["detail"]


@pytest.mark.usefixtures("nothing_stored")
def test_all_options_out_of_range_are_named_at_once(api: Client) -> None:
    errors = errors_of(upload(api, make_csv(), quality=0, format="gif"))
    assert {error["attr"] for error in errors} == {"quality", "format"}


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("body", [{}, {"file": ""}, {"quality": "50"}])
def test_an_upload_without_a_file_is_refused(api: Client, body: dict[str, str]) -> None:
    error = error_of(api.post("/api/requests/", body))
    assert error["attr"] == "file"


@pytest.mark.usefixtures("nothing_stored")
def test_text_in_place_of_a_file_is_refused(api: Client) -> None:
    error = error_of(api.post("/api/requests/", {"file": make_csv().decode()}))
    assert (error["code"], error["attr"]) == ("invalid", "file")


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    ("data", "code", "detail", "place"),
    [
        (b"", "empty_file", r"The file is empty\.", {}),
        (b"\n \r\n", "empty_file", r"The file is empty\.", {}),
        (make_csv().splitlines(keepends=True)[0], "no_rows", r"The file has a header but no rows\.", {}),
        (
            make_csv((1, "Chair"), header=("Serial Number", "Heading")),
            "missing_column",
            r"No column with picture URLs was found\. The file has “Serial Number”, .*",
            {"line": 1},
        ),
        (
            make_csv((1, 2, "Chair", URL), header=("Serial Number", *HEADER)),
            "duplicate_column",
            r"Two columns have the same name: .*",
            {"line": 1, "column": 2},
        ),
        (
            pictures.rgba_png(16, 12),
            "not_text",
            r"This is a PNG picture, not a catalogue\. Upload a table, a workbook or a feed\.",
            {},
        ),
        (
            make_csv((1, "Chair", "x" * 2_000_000)),
            "line_too_long",
            r"The row in line 2 is longer than 2,000,000 characters\.",
            {"line": 2},
        ),
        (
            make_csv((1, "Chair", "x" * 1_500_000)),
            "cell_too_long",
            r"A cell in line 2 is longer than 1,000,000 characters\.",
            {"line": 2},
        ),
        (
            make_csv().decode().encode("utf-16") + b"x",
            "unsupported_encoding",
            r"The file has a UTF-16-LE byte order mark but is not valid UTF-16-LE\. See line 3\.",
            {"line": 3},
        ),
        (
            make_csv((1, "Chair", URL)) + b'2,"Table,' + URL.encode() + b"\n",
            "unclosed_quote",
            r"The quote opened in line 3 is never closed, .*",
            {"line": 3},
        ),
    ],
    ids=[
        "no bytes",
        "blank lines",
        "only a header",
        "missing columns",
        "a column twice",
        "a PNG",
        "2 MB in a line",
        "a huge cell",
        "broken UTF-16",
        "an open quote",
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_one_sentence_that_says_why(
    api: Client, data: bytes, code: str, detail: str, place: dict[str, int]
) -> None:
    error = error_of(upload(api, data))
    assert re.fullmatch(detail, error.pop("detail"), re.DOTALL)
    assert error == {"code": code, "attr": "file", **place}


@pytest.mark.usefixtures("nothing_stored")
def test_a_file_over_the_limit_in_bytes_is_refused(api: Client, settings: Settings) -> None:
    data = make_csv()
    settings.UPLOAD_MAX_BYTES = len(data) - 1
    error = error_of(upload(api, data))
    assert error == {
        "code": "file_too_large",
        "detail": f"The file is larger than the limit of {len(data) - 1} bytes.",
        "attr": "file",
    }


@pytest.mark.usefixtures("nothing_stored")
def test_a_file_over_the_limit_in_pictures_is_refused_without_reading_on(
    api: Client, settings: Settings
) -> None:
    settings.REQUEST_MAX_IMAGES = 2
    data = make_csv((1, "Chair", f"{URL} {OTHER_URL}"), (2, "Table", URL))
    error = error_of(upload(api, data + b'3,"never closed'))
    assert error == {
        "code": "too_many_images",
        "detail": "The file has more than the 2 picture URLs allowed.",
        "attr": "file",
    }


@pytest.mark.usefixtures("nothing_stored")
def test_a_file_with_too_many_rows_is_refused(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("products.catalogue.inspection"), "MAX_ROWS", 2)
    error = error_of(upload(api, make_csv((1, "Chair", ""), (2, "Table", ""), (3, "Lamp", ""))))
    assert error == {
        "code": "too_many_rows",
        "detail": "The file has more than the 2 rows allowed.",
        "attr": "file",
    }


@pytest.mark.usefixtures("nothing_stored")
def test_a_file_with_too_many_columns_is_refused(api: Client) -> None:
    header = [*HEADER, *(f"Column {number}" for number in range(16_384))]
    error = error_of(upload(api, make_csv((1, "Chair", URL), header=header)))
    assert error == {
        "code": "too_many_columns",
        "detail": "The file has more than the 16,384 columns allowed.",
        "attr": "file",
    }


def test_a_file_at_both_limits_is_accepted(api: Client, settings: Settings) -> None:
    data = make_csv((1, "Chair", f"{URL} {OTHER_URL}"))
    settings.UPLOAD_MAX_BYTES, settings.REQUEST_MAX_IMAGES = len(data), 2
    assert upload(api, data).status_code == 201


# --- Bad cells ---


@pytest.mark.usefixtures("nothing_stored")
def test_strict_refuses_bad_cells_each_with_its_line_and_column(api: Client) -> None:
    errors = errors_of(upload(api, BAD_CELLS, strict="true"))
    assert [(error["code"], error["line"], error.get("column")) for error in errors] == [
        ("invalid_url", 3, 3),
        ("invalid_url", 4, 3),
        ("invalid_url", 5, 3),
        ("too_few_cells", 7, None),
    ]
    assert {error["attr"] for error in errors} == {"file"}
    assert errors[0]["detail"].startswith("ftp://shop.example/c.jpg: The URL does not start with http")


@pytest.mark.usefixtures("nothing_stored")
def test_of_many_bad_cells_the_first_100_are_named(api: Client) -> None:
    data = make_csv(*((number, "Chair", f"{number}.jpg") for number in range(1, 151)))
    errors = errors_of(upload(api, data, strict="true"))
    assert [error["line"] for error in errors] == list(range(2, 102))


def test_without_strict_the_same_file_is_accepted_and_bad_cells_are_failed_images(api: Client) -> None:
    assert upload(api, BAD_CELLS).status_code == 201
    batch = ingest(Request.objects.get())
    assert [(image.url, image.status, image.error_code) for image in batch.images.order_by("number")] == [
        (URL, "pending", ""),
        (OTHER_URL, "pending", ""),
        ("ftp://shop.example/c.jpg", "failed", "invalid_url"),
        ("lamp.jpg", "failed", "invalid_url"),
        ("https:///d.jpg", "failed", "invalid_url"),
    ]
    answer = api.get(f"/api/requests/{batch.pk}/").json()
    assert answer["status"] == "processing"
    assert answer["ingested"] is True
    assert answer["images"] == image_counts(total=5, pending=2, failed=3)


def test_a_catalogue_of_which_no_url_can_be_tried_has_failed_once_it_is_ingested(api: Client) -> None:
    upload(api, make_csv((1, "Chair", "chair.jpg")))
    batch = ingest(Request.objects.get())
    assert batch.status == Request.Status.FAILED
    assert batch.finished_at is not None


def test_a_catalogue_without_any_url_is_completed_once_it_is_ingested(api: Client) -> None:
    upload(api, make_csv((1, "Chair", "")))
    assert ingest(Request.objects.get()).status == Request.Status.COMPLETED
