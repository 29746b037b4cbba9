"""Failures by cause and server, in words, with the rows behind them and another try."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products import lifecycle
from products.models import Request
from products.results.failures import explain
from tests.support.pages import PICTURE, address, body, ingested, pictures, settle

pytestmark = pytest.mark.django_db


def failed(owner: User) -> Request:
    """Two causes at two servers, and what is no address."""
    other = [(f"T{n}", f"Lamp {n}", f"https://cdn.example:8443/{n}.jpg") for n in (1, 2)]
    batch = ingested(owner, *pictures(5), *other, ("U1", "Rug", "nope"))
    settle(batch, PICTURE, "dns", "http_404", "http_404", "http_404", "http_404", "dns")
    return batch


def failures_in(page: Client, batch: Request) -> str:
    shown = body(page.get(address("request-failures", batch)))
    return shown.partition('id="failures"')[2].partition("</section>")[0]


def test_each_cause_has_a_title_a_sentence_and_its_servers_the_most_frequent_first(
    page: Client, ann: User
) -> None:
    shown = failures_in(page, failed(ann))
    assert re.findall(r"<h3>(.+?)</h3>", shown) == [
        "Picture not found (404) · 4 pictures",
        "Server not found · 2 pictures",
        "Invalid picture URL · 1 picture",
    ]
    assert "There is no picture at this URL." in shown
    assert re.findall(r'<th scope="row">(.+?)</th><td>(\d+) pictures?</td>', shown) == [
        *(("shop.example", "3"), ("cdn.example:8443", "1")),
        *(("cdn.example:8443", "1"), ("shop.example", "1")),
    ]


def test_a_cause_on_one_host_is_a_line_and_no_table_of_one_row(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3), ("U1", "Rug", "nope"))
    settle(batch, PICTURE, "dns", "dns")
    shown = failures_in(page, batch)
    assert "<table" not in shown
    assert re.findall(r'<p class="only"><strong>(.+?)</strong>', shown) == ["shop.example", "No host"]
    line = shown.partition("<strong>shop.example</strong>")[2].partition("</p>")[0]
    assert "Show rows" in line and "Change URLs" in line
    assert '<button id="retry-dns-shop.example" class="link" name="host" value="shop.example">' in line
    assert "Retry all" not in shown


def test_the_rows_behind_a_failure_are_one_link_away(page: Client, ann: User) -> None:
    batch = failed(ann)
    links = re.findall(r'href="([^"]+)#products">Show rows', failures_in(page, batch))
    answer = page.get(links[0].replace("&amp;", "&"))
    assert [product.serial_number for product in answer.context["products"]] == ["S3", "S4", "S5"]
    assert "<strong>Picture not found (404)</strong> on <strong>shop.example</strong>" in body(answer)


def test_what_failed_with_one_cause_at_one_server_is_tried_again_alone(page: Client, ann: User) -> None:
    batch = failed(ann)
    page.post(address("request-retry", batch), {"code": "http_404", "host": "cdn.example:8443"})
    assert list(batch.images.pending().values_list("url", flat=True)) == ["https://cdn.example:8443/1.jpg"]
    batch.refresh_from_db()
    assert (batch.images_pending, batch.images_failed) == (1, 6)


def test_another_try_is_offered_where_it_can_help_and_nothing_is_at_work(page: Client, ann: User) -> None:
    batch = failed(ann)
    forms = failures_in(page, batch).split("<form")[1:]
    offered = {re.findall(r'name="code" value="(.+?)"', form)[0]: form.count("<button") for form in forms}
    assert offered == {"http_404": 3, "dns": 3, "invalid_url": 0}  # each server, and all
    lifecycle.retry(batch, [("dns", "")])
    assert "<button" not in failures_in(page, batch)


def test_of_many_servers_the_most_frequent_are_listed_and_the_rest_counted(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.results.failures.MAX_LISTED_GROUPS", 1)
    shown = failures_in(page, failed(ann))
    assert "1 more on other hosts</a>" in shown
    assert "2 more on other hosts</a>" in shown
    # All of a cause can be retried though only some of its servers, or none, are listed.
    offered = [form for form in shown.split("<form")[1:] if ">Retry all" in form]
    assert len(offered) == 2


@pytest.mark.parametrize(
    "code",
    [
        *("invalid_url", "blocked_address", "dns", "connect", "timeout", "tls", "too_many_redirects"),
        *("too_large", "not_an_image", "unsupported_format", "too_many_pixels", "corrupt_image", "storage"),
        *("crashed", "link_expired"),
    ],
)
def test_every_promised_code_has_its_own_explanation(code: str) -> None:
    assert explain(code) != explain("")


@pytest.mark.parametrize("code", ["http_418", "http_500", "http_503", "something_new", ""])
def test_any_code_has_a_title_without_the_bare_code(code: str) -> None:
    title, advice = explain(code)
    assert "_" not in title
    assert advice.endswith(".")


def test_all_failures_are_retried_with_one_button_beside_their_number(page: Client, ann: User) -> None:
    batch = failed(ann)
    path = address("request-failures", batch)
    shown = body(page.get(path))
    beside = shown.partition("7 of 8 pictures failed.")[2].partition("</div>")[0]
    assert f'action="{address("request-retry", batch)}"' in beside and "Retry all</button>" in beside
    assert '<input type="checkbox" data-ticks="group" aria-label="Select all">' in shown
    page.post(address("request-retry", batch))
    batch.refresh_from_db()
    assert (batch.images_pending, batch.images_failed) == (6, 1)
    assert "Retry all</button>" not in body(page.get(path))


def test_what_no_retry_helps_has_no_button_for_it(page: Client, ann: User) -> None:
    batch = ingested(ann, ("U1", "Rug", "nope"))
    batch.refresh_from_db()
    shown = body(page.get(address("request-failures", batch)))
    assert "1 of 1 picture failed." in shown
    assert "Retry all" not in shown


def test_what_a_zip_lacks_has_a_cause_of_its_own(page: Client, ann: User) -> None:
    lacking = ("T1", "Lamp", "https://upload.invalid/lamp.jpg")
    batch = ingested(ann, *pictures(2), lacking)
    settle(batch, PICTURE, PICTURE, "http_404")
    shown = failures_in(page, batch)
    assert "<h3>Not in the ZIP · 1 picture</h3>" in shown
    assert "<strong>In the ZIP</strong>" in shown
    assert "Retry" not in shown
    for text in re.findall(r'<span class="hidden-visually">([^<]+)</span>|aria-label="([^"]+)"', shown):
        assert "upload.invalid" not in "".join(text)
    group = page.get(f"{address('request-failures', batch)}?code=http_404&host=upload.invalid")
    assert '<h2 id="pictures">Not in the ZIP</h2>' in body(group)
    assert '<th scope="row">In the ZIP</th>' in body(page.get("/"))
