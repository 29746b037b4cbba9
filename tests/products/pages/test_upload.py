"""The upload form."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products.models import Request
from tests.support.factories import ingest, make_csv
from tests.support.pages import OPTIONS, address, body, settle, upload

pytestmark = pytest.mark.django_db


def test_an_upload_makes_a_request_and_leads_to_its_page(page: Client, ann: User) -> None:
    answer = upload(page, make_csv(), quality="80", format="webp", max_width="1200", max_height="900")
    batch = Request.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, address("request", batch))
    assert (batch.owner, batch.filename, batch.products_total) == (ann, "catalogue.csv", 1)
    assert (batch.quality, batch.format, batch.max_width, batch.max_height) == (80, "webp", 1200, 900)


def test_empty_limits_are_no_limits(page: Client) -> None:
    upload(page, make_csv())
    batch = Request.objects.get()
    assert (batch.max_width, batch.max_height) == (None, None)


def test_each_problem_of_a_refused_file_is_shown_with_its_place_and_nothing_is_stored(page: Client) -> None:
    answer = upload(page, make_csv((1, "Chair", "nope"), (2, "Table")), strict="on")
    assert answer.status_code == 400
    assert "<li>Line 2, column 3: nope: The URL does not start with http:// or https://.</li>" in body(answer)
    assert "<li>Line 3: The row has 2 cells, the header has 3.</li>" in body(answer)
    assert "<title>Error: Upload a catalogue – Image Extractor</title>" in body(answer)
    assert not Request.objects.exists()


def test_a_problem_without_a_place_is_shown_as_it_is(page: Client) -> None:
    answer = upload(page, b"")
    assert answer.status_code == 400
    assert "<li>The file is empty.</li>" in body(answer)


def test_the_first_hundred_problems_are_shown_and_it_is_said_that_there_may_be_more(page: Client) -> None:
    answer = body(upload(page, make_csv(*[(1, "Chair", "nope")] * 150), strict="on"))
    assert answer.count("<li>Line ") == 100
    assert "Line 101, column 3" in answer
    assert "Only the first 100 problems are listed." in answer


def test_options_are_kept_when_a_file_is_refused(page: Client) -> None:
    answer = upload(page, b"nonsense", quality="81", format="avif", max_width="1234", strict="on")
    fields = answer.context["form"]
    assert [fields[name].value() for name in ("quality", "format", "max_width", "strict")] == [
        *("81", "avif", "1234", True),
    ]
    assert 'value="81"' in body(answer)
    assert '<option value="avif" selected>' in body(answer)
    assert "<details open>" in body(answer)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("quality", "0"), ("quality", "96"), ("quality", "")),
        *(("format", "gif"), ("max_width", "0"), ("max_height", "65536"), ("max_height", "tall")),
    ],
)
def test_a_wrong_option_is_refused_beside_its_field(page: Client, option: str, value: str) -> None:
    answer = upload(page, make_csv(), **{option: value})
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [option]
    assert f'id="id_{option}_error"' in body(answer)
    assert not Request.objects.exists()


def test_an_upload_without_a_file_is_refused(page: Client) -> None:
    answer = page.post("/", OPTIONS)
    assert answer.status_code == 400
    assert "This field is required." in body(answer)


def test_hostile_names_are_text(page: Client) -> None:
    name = "<script>alert(1).csv"
    row = ("<i>1</i>", "<script>alert(2)</script>", "https://shop.example/<b>.jpg")
    upload(page, make_csv(row), name)
    batch = Request.objects.get()
    assert batch.filename == name
    settle(ingest(batch), "<u>")
    shown = "".join(
        body(page.get(path)) for path in ("/", address("request", batch), address("request-products", batch))
    )
    for hostile in ("<script>alert", "<i>1", "<b>.jpg", "<u>"):
        assert hostile not in shown
    for text in (
        "&lt;script&gt;alert(1).csv",
        "&lt;script&gt;alert(2)",
        "/&lt;b&gt;.jpg",
        "It failed with &lt;u&gt;.",
    ):
        assert text in shown
