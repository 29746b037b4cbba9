import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from processing.models import DEAD_AFTER, Worker
from products.models import Image, Request
from tests.factories import OTHER_URL, URL, ingest, make_csv, make_user, submit
from tests.factories import settle as settle_by_url

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

PICTURE = bytes(100_000)  # what it becomes; it was twice as large
OPTIONS = {"quality": "50", "format": "jpeg", "max_width": "", "max_height": ""}
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def worker() -> Worker:
    """One that lives, so that nothing waits in vain."""
    return Worker.objects.create()


@pytest.fixture
def ann() -> User:
    return make_user(password="a long password")


@pytest.fixture
def page(client: Client, ann: User) -> Client:
    """A client that Ann is logged in with."""
    client.force_login(ann)
    return client


def submitted(owner: User, *rows: tuple[str, str, str], **options: Any) -> Request:
    return submit(owner, make_csv(*rows), **options)


def ingested(owner: User, *rows: tuple[str, str, str]) -> Request:
    return ingest(submitted(owner, *rows))


def settle(batch: Request, *outcomes: bytes | str) -> None:
    """Settle as many of the batch's images, in order."""
    urls = batch.images.pending().order_by("number").values_list("url", flat=True)
    settle_by_url(batch, dict(zip(urls[: len(outcomes)], outcomes, strict=True)))


def pictures(count: int) -> list[tuple[str, str, str]]:
    """Rows with a picture each."""
    return [(f"S{n}", f"Product {n}", f"https://shop.example/{n}.jpg") for n in range(1, count + 1)]


def upload(client: Client, data: bytes, name: str = "catalogue.csv", **options: str) -> "Answer":
    return client.post("/", {"file": SimpleUploadedFile(name, data, "text/csv"), **OPTIONS, **options})


def address(view: str, batch: Request) -> str:
    return reverse(view, args=[batch.pk])


def body(answer: "Answer") -> str:
    return " ".join(answer.content.decode().split())


# --- Access ---


@pytest.mark.parametrize("view", ["request", "request-progress"])
def test_pages_ask_visitors_to_log_in(client: Client, ann: User, view: str) -> None:
    path = address(view, submitted(ann))
    assert client.get(path).headers["Location"] == f"/login/?next={path}"
    assert client.get("/").headers["Location"] == "/login/?next=/"


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_visitors_can_change_nothing(client: Client, ann: User, view: str) -> None:
    batch = submitted(ann)
    assert client.post(address(view, batch)).headers["Location"].startswith("/login/")
    batch.refresh_from_db()
    assert batch.status == Request.Status.PENDING


@pytest.mark.parametrize("view", ["request", "request-progress"])
def test_a_foreign_request_is_not_found(page: Client, view: str) -> None:
    bob = make_user("bob")
    assert page.get(address(view, submitted(bob))).status_code == 404
    assert page.get(reverse(view, args=[uuid.uuid4()])).status_code == 404


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_a_foreign_request_cannot_be_changed(page: Client, view: str) -> None:
    batch = submitted(make_user("bob"))
    assert page.post(address(view, batch)).status_code == 404
    batch.refresh_from_db()
    assert batch.status == Request.Status.PENDING


def test_staff_see_the_requests_of_others_but_list_their_own(client: Client, ann: User) -> None:
    batch = submitted(ann, name="of-ann.csv")
    client.force_login(make_user("boss", is_staff=True))
    assert client.get(address("request", batch)).status_code == 200
    home = body(client.get("/"))
    assert "of-ann.csv" not in home
    assert reverse("admin:index") in home


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_changes_are_made_by_post_only_and_with_the_token(ann: User, view: str) -> None:
    batch = submitted(ann)
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert client.get(address(view, batch)).status_code == 405
    assert client.post(address(view, batch)).status_code == 403
    assert Request.objects.get().status == Request.Status.PENDING


# --- Upload ---


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
    shown = body(page.get("/")) + body(page.get(address("request", batch)))
    for hostile in ("<script>alert", "<i>1", "<b>.jpg", "<u>"):
        assert hostile not in shown
    for text in (
        "&lt;script&gt;alert(1).csv",
        "&lt;script&gt;alert(2)",
        "/&lt;b&gt;.jpg",
        "It failed with &lt;u&gt;.",
    ):
        assert text in shown


# --- The list ---


def test_without_requests_the_page_says_what_to_do(page: Client) -> None:
    assert "Choose a CSV file above and upload it" in body(page.get("/"))


def test_the_latest_twenty_requests_are_listed_newest_first(page: Client, ann: User) -> None:
    now = timezone.now()
    for age in range(21):
        batch = submitted(ann, name=f"{age}.csv")
        Request.objects.filter(pk=batch.pk).update(created_at=now - timedelta(days=age))
    latest = page.get("/").context["latest"]
    assert [batch.filename for batch in latest] == [f"{age}.csv" for age in range(20)]


def test_a_listed_request_shows_its_counts_and_what_was_saved(page: Client, ann: User) -> None:
    settle(ingested(ann, *pictures(3)), PICTURE, "http_404")
    home = body(page.get("/"))
    assert '<td data-label="Pictures done" class="number">1 of 3</td>' in home
    assert '<td data-label="Failed" class="number">1</td>' in home
    assert "97.7 KB" in home
    assert '<span class="status processing">Processing</span>' in home


def test_the_list_costs_as_many_queries_for_ten_requests_as_for_one(
    page: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        submitted(ann)
    with django_assert_num_queries(4):  # the session, the user, the requests, the endpoints given up
        page.get("/")


# --- A request's page ---


def test_while_the_file_is_read_the_rows_are_counted(page: Client, ann: User) -> None:
    batch = submitted(ann, *pictures(3))
    shown = body(page.get(address("request", batch)))
    assert "Reading the file: 0 of 3 rows" in shown
    assert "Waiting for a worker." in shown
    assert "No rows are read yet." in shown


def test_the_page_of_an_active_request_polls_and_offers_to_cancel(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE, "dns")
    shown = body(page.get(address("request", batch)))
    assert "<title>catalogue.csv: Processing – Image Extractor</title>" in shown
    assert f'hx-get="{address("request-progress", batch)}" hx-trigger="every 1s" hx-swap="outerHTML"' in shown
    assert "2 of 4 pictures done" in shown
    assert '<progress id="bar" value="2" max="4">' in shown
    assert "Less than a minute left." in shown
    assert address("request-cancel", batch) in shown
    assert address("request-retry", batch) not in shown


def test_the_page_of_a_finished_request_shows_the_outcome_and_polls_no_more(page: Client, ann: User) -> None:
    batch = ingest(submitted(ann, *pictures(3), quality=70, max_width=800))
    settle(batch, PICTURE, PICTURE, "http_404")
    shown = body(page.get(address("request", batch)))
    assert '<span class="status completed_with_errors">Completed with errors</span>' in shown
    assert "<dt>Completed</dt><dd>2</dd>" in shown
    assert "<dt>Size before</dt><dd>390.6 KB</dd>" in shown
    assert "<dt>Size after</dt><dd>195.3 KB</dd>" in shown
    assert "<dt>Saved</dt><dd>195.3 KB (50 %)</dd>" in shown
    assert "Quality 70, format JPEG, maximum width 800 px, maximum height none." in shown
    assert "hx-get" not in shown
    assert "<script" not in shown


def test_downloads_are_offered_for_what_there_is(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    result, archive = address("api:request-results-csv", batch), address("api:request-images-zip", batch)

    def offered() -> list[bool]:
        shown = body(page.get(address("request", batch)))
        return [f'href="{url}"' in shown for url in (result, f"{result}?only=failed", archive)]

    assert offered() == [True, False, False]
    settle(batch, "timeout")
    assert offered() == [True, True, False]
    settle(batch, PICTURE)
    assert offered() == [True, True, True]


def test_failures_are_grouped_by_cause_the_most_frequent_first(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(6), ("7", "Lamp", "nope"))
    settle(batch, "dns", "http_404", "http_404", "http_404", "http_404", PICTURE)
    answer = page.get(address("request", batch))
    groups = [(group["code"], group["count"]) for group in answer.context["failures"]]
    assert groups == [("http_404", 4), ("dns", 1), ("invalid_url", 1)]
    failures = body(answer).partition('id="failures"')[2].partition('id="products"')[0]
    for part in ("https://shop.example/4.jpg", "It failed with dns.", "These are the first 3"):
        assert part in failures
    assert "https://shop.example/5.jpg" not in failures
    again = [code for code, _ in groups if f'name="code" value="{code}"' in failures]
    assert again == ["http_404", "dns"]  # an invalid URL cannot become a picture


def test_a_product_shows_each_picture_with_its_outcome(page: Client, ann: User) -> None:
    row = ("S1", "Chair", f"{URL}, {OTHER_URL}")
    batch = ingested(ann, row, ("S2", "Bare", ""))
    settle(batch, PICTURE, "timeout")
    shown = body(page.get(address("request", batch)))
    assert '<th scope="row">S1</th>' in shown
    output = Image.objects.get(url=URL).output_path
    assert f'<a href="{output}">32 × 24, 97.7 KB</a>' in shown
    assert "Failed: It failed with timeout." in shown
    assert "The row has no pictures." in shown


def test_products_come_in_pages_of_25(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(60))
    path = address("request", batch)

    def rows(query: str) -> list[int]:
        return [product.row_number for product in page.get(path + query).context["products"]]

    assert rows("") == list(range(1, 26))
    assert rows("?after=25") == list(range(26, 51))
    assert rows("?after=50") == list(range(51, 61))
    middle = body(page.get(path + "?after=25"))
    assert "Rows 26 to 50 of 60" in middle
    assert 'href="?after=0#products" rel="prev"' in middle
    assert 'href="?after=50#products" rel="next"' in middle
    assert 'rel="next"' not in body(page.get(path + "?after=50"))


@pytest.mark.parametrize("after", ["x", "-1", "1e3", "\N{SUPERSCRIPT TWO}", "%00"])
def test_a_page_that_cannot_be_is_the_first(page: Client, ann: User, after: str) -> None:
    batch = ingested(ann)
    assert len(page.get(address("request", batch) + f"?after={after}").context["products"]) == 1


def test_a_page_beyond_the_last_row_says_so(page: Client, ann: User) -> None:
    path = address("request", ingested(ann))
    assert "There are no further rows." in body(page.get(path + "?after=" + "9" * 30))


def test_a_page_of_products_costs_as_many_queries_for_25_as_for_one(
    page: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    batch = ingested(ann, *pictures(30))
    with django_assert_num_queries(8):  # session, user, request, worker, failures; products, images; banner
        page.get(address("request", batch))


def test_a_request_that_stands_still_says_so(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE)
    path = address("request", batch)
    assert "Nothing has moved" not in body(page.get(path))
    long_ago = timezone.now() - timedelta(minutes=65)
    Request.objects.update(created_at=long_ago, started_at=long_ago, last_progress_at=long_ago)
    shown = body(page.get(path))
    assert "Nothing has moved for 1 hour, 5 minutes." in shown
    assert "left." not in shown


def test_a_request_that_waits_in_vain_for_a_worker_says_since_when(
    page: Client, ann: User, worker: Worker
) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    paths = address("request", batch), address("request-progress", batch)
    for path in paths:
        assert "left." in (shown := body(page.get(path)))
        assert "No worker" not in shown
    worker.seen_at -= DEAD_AFTER
    worker.save()
    for path in paths:
        shown = body(page.get(path))
        assert f"No worker seen since {worker.seen_at:%-d %B %Y, %H:%M} UTC." in shown
        assert "left." not in shown


def test_a_finished_request_does_not_ask_for_workers(page: Client, ann: User, worker: Worker) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    submitted(ann)  # has work that waits
    worker.delete()
    with CaptureQueriesContext(connection) as asked:
        assert "No worker" not in body(page.get(address("request", batch)))
    assert not any("processing_worker" in query["sql"] for query in asked)


def test_a_file_that_could_not_be_ingested_says_why(page: Client, ann: User) -> None:
    batch = submitted(ann)
    batch.refuse("The stored file is gone.")
    assert '<p class="problem">The stored file is gone.</p>' in body(page.get(address("request", batch)))


# --- Polling ---


def test_polling_gets_the_progress_alone_and_goes_on(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch), headers=HTMX)
    assert answer.content.decode().startswith('<section id="progress"')
    assert "1 of 2 pictures done" in body(answer)
    assert 'hx-trigger="every 1s"' in body(answer)
    assert "HX-Refresh" not in answer.headers


def test_polling_a_request_that_has_just_finished_reloads_the_page(page: Client, ann: User) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    assert page.get(address("request-progress", batch), headers=HTMX).headers["HX-Refresh"] == "true"


def test_the_progress_of_a_finished_request_polls_no_more(page: Client, ann: User) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch))
    assert "HX-Refresh" not in answer.headers
    assert "hx-" not in body(answer)


def test_polling_reloads_the_page_when_the_file_has_been_read(page: Client, ann: User) -> None:
    batch = submitted(ann, *pictures(2))
    path = address("request-progress", batch)
    answer = page.get(f"{path}?reading", headers=HTMX)
    assert f'hx-get="{path}?reading"' in body(answer)
    assert "HX-Refresh" not in answer.headers
    ingest(batch)
    assert page.get(f"{path}?reading", headers=HTMX).headers["HX-Refresh"] == "true"
    assert "HX-Refresh" not in page.get(path, headers=HTMX).headers


def test_polling_what_was_deleted_or_after_logging_out_reloads_the_page(page: Client, ann: User) -> None:
    batch = submitted(ann)
    missing = reverse("request-progress", args=[uuid.uuid4()])
    assert page.get(missing, headers=HTMX).headers["HX-Refresh"] == "true"
    page.logout()
    answer = page.get(address("request-progress", batch), headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Refresh"], answer.content) == (200, "true", b"")


# --- Buttons ---


def test_cancel_stops_an_active_request(page: Client, ann: User) -> None:
    batch = ingested(ann)
    answer = page.post(address("request-cancel", batch), follow=True)
    assert answer.redirect_chain == [(address("request", batch), 302)]
    assert "Canceled. What was done by then is kept." in body(answer)
    batch.refresh_from_db()
    assert (batch.status, batch.images_canceled) == (Request.Status.CANCELED, 1)
    again = page.post(address("request-cancel", batch), follow=True)
    assert "It had finished already." in body(again)


def test_retry_tries_again_what_failed(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE, "http_404", "timeout")
    answer = page.post(address("request-retry", batch), follow=True)
    assert "Trying again." in body(answer)
    batch.refresh_from_db()
    assert (batch.status, batch.run, batch.images_pending) == (Request.Status.PROCESSING, 2, 2)


def test_retry_of_one_code_leaves_the_others_alone(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE, "http_404", "timeout")
    page.post(address("request-retry", batch), {"code": "timeout"})
    assert list(batch.images.pending().values_list("url", flat=True)) == ["https://shop.example/3.jpg"]


def test_retry_resumes_what_was_canceled_before_any_row_was_read(page: Client, ann: User) -> None:
    batch = submitted(ann)
    batch.cancel()
    assert address("request-retry", batch) in body(page.get(address("request", batch)))
    assert "Trying again." in body(page.post(address("request-retry", batch), follow=True))


@pytest.mark.parametrize("code", ["", "dns", "\0", "x" * 31])
def test_where_nothing_can_be_tried_again_a_message_says_so(page: Client, ann: User, code: str) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    answer = page.post(address("request-retry", batch), {"code": code}, follow=True)
    assert '<li class="warning">There was nothing to try again.</li>' in body(answer)


def test_delete_removes_the_request_and_says_so(page: Client, ann: User) -> None:
    batch = ingested(ann)
    answer = page.post(address("request-delete", batch), follow=True)
    assert answer.redirect_chain == [("/", 302)]
    assert "catalogue.csv is deleted." in body(answer)
    assert not Request.objects.exists()


# --- Errors ---


def test_an_unknown_address_is_answered_in_the_same_clothes(page: Client) -> None:
    answer = page.get("/nothing-here")
    assert answer.status_code == 404
    assert "<title>Not found – Image Extractor</title>" in body(answer)


def test_an_error_page_needs_nothing_but_itself(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("products.views.UploadForm", broken)
    page.raise_request_exception = False
    answer = page.get("/")
    assert answer.status_code == 500
    assert "Something went wrong" in body(answer)
    assert "broken" not in body(answer)


@pytest.mark.parametrize("path", ["/", "/login/", "/nothing-here"])
def test_pages_carry_neither_inline_scripts_nor_inline_styles(page: Client, path: str) -> None:
    shown = body(page.get(path))
    assert '<html lang="en">' in shown
    assert "style=" not in shown
    assert "<style" not in shown
    assert "<script" not in shown
