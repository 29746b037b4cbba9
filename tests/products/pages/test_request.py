"""The page of one Request."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from processing.hosts.models import PausedHost
from processing.timing import DEAD_AFTER
from processing.work.claim import claim
from processing.workers.models import Worker
from products import lifecycle
from products.lifecycle import Outcome, PictureFacts
from products.models import Image, Request
from tests.support.batches import WORKER
from tests.support.factories import OTHER_URL, URL, ingest
from tests.support.pages import PICTURE, address, body, ingested, pictures, settle, submitted

pytestmark = pytest.mark.django_db


def test_while_the_file_is_read_the_rows_are_counted(page: Client, ann: User) -> None:
    batch = submitted(ann, *pictures(3))
    shown = body(page.get(address("request", batch)))
    assert "0 of 3 rows read" in shown
    assert "Waiting for a worker." in shown
    assert "No rows have been read yet" in body(page.get(address("request-products", batch)))


def test_the_page_of_an_active_request_polls_and_offers_to_cancel(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE, "dns")
    shown = body(page.get(address("request", batch)))
    assert "% · catalogue.csv – Image Extractor</title>" in shown
    poll = f'hx-get="{address("request-progress", batch)}?seen=1.processing.4.2"'
    assert f'{poll} hx-trigger="every 3s" hx-swap="outerHTML"' in shown
    assert "2 of 4 pictures done" in shown
    assert '<progress id="bar" class="hidden-visually" value="2" max="4">' in shown
    pattern = r"\d pictures per second\. Less than a minute left\. <span [^>]+>Last progress <time"
    assert re.search(pattern, shown)
    assert address("request-cancel", batch) in shown
    assert ">Retry" not in shown and ">Resume" not in shown


def test_a_saving_of_an_earlier_request_is_not_shown_again(page: Client, ann: User) -> None:
    settle(ingested(ann, *pictures(2)), PICTURE, PICTURE)
    earlier = Image.objects.get(number=1)
    batch = ingested(ann, *pictures(2))
    (first,) = claim(batch, WORKER, 1)
    again = Outcome.completed(
        first.id,
        1,
        output_key=earlier.output_key,
        source=PictureFacts(200_000, 64, 48, "png"),
        output=PictureFacts(100_000, 32, 24, "jpeg"),
        taken_from=earlier.pk,
    )
    lifecycle.record(batch.pk, [again], WORKER)
    batch.refresh_from_db()
    shown = body(page.get(address("request", batch)))
    assert "<dt>Size after</dt><dd>97.7 KB<svg" in shown
    assert "<dt>Saved</dt><dd>–</dd>" in shown
    assert "Nothing was compressed again." not in shown
    settle(batch, PICTURE)
    shown = body(page.get(address("request", batch)))
    assert "<dt>Saved</dt><dd>97.7 KB <small>(50 %)</small></dd>" in shown
    assert "Nothing was compressed again." not in shown


def test_renditions_that_are_larger_than_the_savings_count_as_added(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(1))
    settle(batch, PICTURE)
    Request.objects.filter(pk=batch.pk).update(
        bytes_output=F("bytes_source") * 3, renditions=[{"name": "zoom", "max_width": 2000}]
    )
    shown = body(page.get(address("request", batch)))
    assert "<dt>Added</dt><dd>390.6 KB <small>(200 %)</small></dd>" in shown
    assert "The size after includes the renditions." in shown and "Without the renditions." in shown
    listed = body(page.get("/requests/"))
    assert 'data-label="Saved" class="number">Added 390.6 KB (200 %)</td>' in listed


def test_the_overview_says_how_many_causes_it_leaves_out(page: Client, ann: User) -> None:
    codes = ["dns", "timeout", "too_large", "http_404", "http_403", "not_an_image", "corrupt_image"]
    batch = ingested(ann, *pictures(len(codes)))
    settle(batch, *codes[:5])
    assert "other cause" not in body(page.get(address("request", batch)))
    settle(batch, codes[5])
    assert "And 1 other cause." in body(page.get(address("request", batch)))
    settle(batch, codes[6])
    assert "And 2 other causes." in body(page.get(address("request", batch)))


@pytest.mark.parametrize(
    ("total", "sentence"),
    [
        (2, "All pictures are unchanged, and their earlier results are used again."),
        (3, "2 pictures are unchanged, and their earlier results are used again."),
    ],
)
def test_where_nothing_is_new_it_is_said_instead_of_a_saving_of_nothing(
    page: Client, ann: User, total: int, sentence: str
) -> None:
    batch = ingested(ann, *pictures(total))
    settle(batch, *[PICTURE] * 2, *["http_404"] * (total - 2))
    taken_over = {"bytes_source_unchanged": F("bytes_source"), "bytes_unchanged": F("bytes_output")}
    Request.objects.update(images_unchanged=2, **taken_over)
    shown = body(page.get(address("request", batch)))
    assert f"Nothing was compressed again. {sentence}" in shown
    assert "0 bytes" not in shown
    listed = body(page.get("/requests/"))
    assert 'data-label="Saved" class="number">Unchanged</td>' in listed
    assert "0 bytes" not in listed
    assert "<dt>Saved</dt><dd>–</dd>" in body(page.get("/"))


def test_sizes_are_shown_once_a_picture_is_done_and_have_their_place_before(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    shown = body(page.get(address("request", batch)))
    assert '<dl class="sizes reserved">' in shown and '<div class="reserved"> <svg class="spark"' in shown
    assert '<summary id="downloads-button" class="button second">Download</summary>' in shown
    settle(batch, PICTURE)
    shown = body(page.get(address("request", batch)))
    assert '<dl class="sizes">' in shown and "reserved" not in shown
    assert '<summary id="downloads-button" class="button">Download</summary>' in shown
    failed = ingested(ann, *pictures(1))
    settle(failed, "http_404")
    assert 'class="sizes' not in body(page.get(address("request", failed)))


def test_the_duration_names_its_run_and_earlier_ones_are_listed(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE, "timeout")
    now = timezone.now()
    batch.runs.update(started_at=now - timedelta(minutes=4), finished_at=now)
    lifecycle.retry(batch)
    batch.refresh_from_db()
    settle(batch, PICTURE)
    shown = body(page.get(address("request", batch)))
    assert "<dt>Duration of run 2</dt>" in shown
    assert "<dt>Duration</dt>" not in shown
    runs = body(page.get(address("request-runs", batch))).partition('id="runs"')[2].partition("</section>")[0]
    assert re.findall(r"Run </span>(\d)</th>", runs) == ["2", "1"]
    assert re.search(r'data-label="Duration">4\sminutes</td>', runs)


def test_the_page_of_a_finished_request_shows_the_outcome_and_polls_no_more(page: Client, ann: User) -> None:
    batch = ingest(submitted(ann, *pictures(3), quality=70, max_width=800))
    settle(batch, PICTURE, PICTURE, "http_404")
    shown = body(page.get(address("request", batch)))
    assert '<span class="status completed_with_errors">Completed with errors</span>' in shown
    assert "<dt>Completed</dt><dd>2</dd>" in shown
    assert "<dt>Size before</dt><dd>390.6 KB<svg" in shown
    assert "<dt>Size after</dt><dd>195.3 KB<svg" in shown
    assert "<dt>Saved</dt><dd>195.3 KB <small>(50 %)</small></dd>" in shown
    assert "· 3 rows · Format JPEG · Quality 70 · Maximum width 800 px" in shown
    assert "hx-get" not in shown
    assert re.findall(r"<script[^>]*", shown) == ['<script src="/static/products/page.js" type="module"']


def test_hosts_that_pictures_wait_for_are_found_by_one_query_among_all_that_are_paused(
    page: Client, ann: User
) -> None:
    batch = ingested(
        ann, ("1", "Lamp", "https://slow.example/a.jpg"), ("2", "Vase", "https://down.example/b.jpg")
    )
    soon = timezone.now() + timedelta(minutes=1)
    hosts = set(batch.images.values_list("host", flat=True))
    for host in hosts | {f"other{number}.example" for number in range(9)}:
        PausedHost.objects.create(host=host, until=soon, number=1, code="http_429")
    with CaptureQueriesContext(connection) as queries:
        shown = body(page.get(address("request", batch)))
    assert set(re.findall(r"<strong>(\S+)</strong> is limiting requests", shown)) == hosts
    assert sum('"host" = ' in query["sql"] for query in queries) == 1


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


def test_a_product_shows_each_picture_with_its_outcome(page: Client, ann: User) -> None:
    row = ("S1", "Chair", f"{URL}, {OTHER_URL}")
    batch = ingested(ann, row, ("S2", "Bare", ""))
    settle(batch, PICTURE, "timeout")
    shown = body(page.get(address("request-products", batch)))
    assert '<th scope="row">S1</th>' in shown
    image = Image.objects.get(url=URL)
    assert f'<img src="{reverse("thumbnail", args=[image.pk])}" alt="Compressed picture 1 of row 1"' in shown
    assert f'<a class="thumbnail" id="p1-1" href="{image.output_path}">' in shown
    assert "<dt>Before</dt><dd>PNG, 64 × 48, 195.3 KB</dd>" in shown
    assert "<dt>After</dt><dd>JPEG, 32 × 24, 97.7 KB</dd>" in shown
    assert f'<a class="url" id="u1-1" href="{URL}" rel="noreferrer noopener">{URL}</a>' in shown
    assert "Failed. It failed with timeout." in shown
    assert "No pictures in this row." in shown


def test_the_first_frame_of_an_animation_is_called_so(page: Client, ann: User) -> None:
    batch = ingested(ann, ("S1", "Chair", URL))
    settle(batch, PICTURE)
    Image.objects.update(animated=True)
    shown = body(page.get(address("request-products", batch)))
    assert "64 × 48, 195.3 KB (first frame of an animation)</dd>" in shown


def test_what_is_no_address_is_no_link(page: Client, ann: User) -> None:
    batch = ingested(ann, ("S1", "Chair", "javascript:alert(1)"))
    shown = body(page.get(address("request-products", batch)))
    assert '<span class="url">javascript:alert(1)</span>' in shown
    assert 'href="javascript' not in shown


@pytest.mark.parametrize("after", ["x", "-1", "1e3", "\N{SUPERSCRIPT TWO}", "%00"])
def test_a_page_that_cannot_be_is_the_first(page: Client, ann: User, after: str) -> None:
    batch = ingested(ann)
    assert len(page.get(address("request-products", batch) + f"?after={after}").context["products"]) == 1


def test_a_page_beyond_the_last_row_says_so(page: Client, ann: User) -> None:
    path = address("request-products", ingested(ann))
    assert "No more rows" in body(page.get(path + "?after=" + "9" * 30))


def test_a_page_of_products_costs_as_many_queries_for_25_as_for_one(
    page: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    batch = ingested(ann, *pictures(30))
    # session, user, request; products, images; banner
    with django_assert_num_queries(6):
        page.get(address("request-products", batch))


def test_a_request_that_stands_still_says_so(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE)
    path = address("request", batch)
    assert "No progress since" not in body(page.get(path))
    long_ago = timezone.now() - timedelta(minutes=65)
    Request.objects.update(created_at=long_ago, started_at=long_ago, last_progress_at=long_ago)
    shown = body(page.get(path))
    assert re.search(
        rf"No progress since <time [^>]+>{long_ago:%-d %B %Y, %H:%M} UTC</time> \(1 hour, 5 minutes\)\.",
        shown,
    )
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
        assert re.search(
            rf"No worker seen since <time [^>]+>{worker.seen_at:%-d %B %Y, %H:%M} UTC</time>\.", shown
        )
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
    lifecycle.abort_ingest(batch, "The stored file is gone.")
    assert '<p class="problem">The stored file is gone.</p>' in body(page.get(address("request", batch)))
