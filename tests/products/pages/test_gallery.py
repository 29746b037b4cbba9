"""The pictures of a Request as tiles, and the page of one."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from products.models import Image, Request
from tests.support.factories import client_of, make_user
from tests.support.pages import PICTURE, address, body, ingested, pictures, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(ann: User) -> Request:
    """Three pictures at one host, of which one has failed, and one at another."""
    batch = ingested(ann, *pictures(3), ("T1", "Lamp", "https://cdn.example/lamp.jpg"))
    settle(batch, PICTURE, PICTURE, "http_404", PICTURE)
    return batch


def numbers(page: Client, batch: Request, query: str = "") -> list[int]:
    """The numbers of the pictures that the page shows."""
    tiles = page.get(address("request-pictures", batch) + query).context["tiles"]
    return [tile.image.number for tile in tiles]


def path(image: Image) -> str:
    return reverse("picture", args=[image.request_id, image.pk])


def test_pictures_are_filtered_and_counted(page: Client, batch: Request) -> None:
    batch.images.filter(number=1).update(unchanged=True, source_format="webp")
    batch.images.filter(number=2).update(source_width=20)
    assert numbers(page, batch) == [1, 2, 3, 4]
    assert numbers(page, batch, "?status=failed") == [3]
    assert numbers(page, batch, "?status=unchanged") == [1]
    assert numbers(page, batch, "?format=webp") == [1]
    assert numbers(page, batch, "?host=CDN.example") == [4]
    assert numbers(page, batch, "?smaller=21") == [2]
    assert numbers(page, batch, "?q=lamp") == [4]
    shown = body(page.get(address("request-pictures", batch) + "?q=shop.example"))
    assert "<strong>3</strong> pictures found" in shown
    assert "No pictures match" in body(page.get(address("request-pictures", batch) + "?q=nothing"))
    assert numbers(page, batch, "?smaller=x&status=made-up") == [1, 2, 3, 4]


def test_pictures_are_sorted_by_what_was_saved(page: Client, batch: Request) -> None:
    batch.images.filter(number=2).update(output_bytes=10)
    batch.images.filter(number=4).update(source_bytes=900_000_000)
    assert numbers(page, batch, "?sort=saved") == [4, 2, 1, 3]
    assert numbers(page, batch, "?sort=largest") == [4, 1, 2, 3]


def test_a_search_reads_a_bounded_number_of_pictures_and_goes_on_from_there(
    page: Client, batch: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.pages.gallery.MAX_SEARCHED", 2)
    assert numbers(page, batch, "?q=jpg") == [1, 2]
    shown = body(page.get(address("request-pictures", batch) + "?q=jpg"))
    assert "among pictures 1 to 2 of 4" in shown
    assert 'href="?q=jpg&amp;start=3">Continue with picture 3</a>' in shown
    assert numbers(page, batch, "?q=jpg&start=3") == [3, 4]


def test_pages_cost_the_same_whatever_they_show(
    page: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    batch = ingested(ann, *pictures(70))
    for query in ("", "?page=2", "?q=9&sort=saved"):
        with django_assert_num_queries(6):  # session, user, request, count, pictures, banner
            page.get(address("request-pictures", batch) + query)


def test_a_picture_has_a_page_with_facts_rows_and_both_versions(page: Client, batch: Request) -> None:
    image = batch.images.get(number=2)
    shown = body(page.get(path(image)))
    assert "PNG, 64&nbsp;×&nbsp;48, 195.3 KB" in shown
    assert "JPEG, 32&nbsp;×&nbsp;24, 97.7 KB" in shown
    assert f'src="{reverse("source-picture", args=[image.pk])}"' in shown
    assert f'src="{reverse("output", args=[image.pk])}"' in shown
    assert '<th scope="row">S2</th>' in shown
    for number in (1, 3):
        assert f'href="{path(batch.images.get(number=number))}"' in shown
    assert client_of(make_user("bob")).get(path(image)).status_code == 404


def test_a_failed_picture_is_repaired_on_its_page(page: Client, batch: Request) -> None:
    image = batch.images.get(number=3)
    shown = body(page.get(path(image)))
    assert "It failed with http_404." in shown
    repair = reverse("request-fetch-from", args=[batch.pk, image.pk])
    assert f'action="{repair}"' in shown
    page.post(repair, {"url": "https://cdn.example/b.jpg"})
    assert batch.images.pending().get().source_url == "https://cdn.example/b.jpg"
    assert "You can repair it when" not in body(page.get(path(image)))


def test_an_output_is_sent_by_this_server_to_who_may_see_it(page: Client, batch: Request) -> None:
    image = batch.images.get(number=1)
    answer = page.get(reverse("output", args=[image.pk]))
    assert b"".join(answer.streaming_content) == PICTURE  # type: ignore[attr-defined]
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert client_of(make_user("bob")).get(reverse("output", args=[image.pk])).status_code == 404


def test_a_picture_s_page_lists_its_attempts_with_times_and_answers(page: Client, batch: Request) -> None:
    image = batch.images.get(number=3)
    tries = [{"at": "2026-01-02T03:04:05+00:00", "code": "timeout", "detail": "It took <long>."}]
    batch.images.filter(number=3).update(tries=tries)
    attempts = body(page.get(path(image))).partition('<h2 id="attempts">')[2]
    assert "2 January 2026, 03:04:05 UTC" in attempts
    assert "<td>It took &lt;long&gt;.</td><td><code>timeout</code></td>" in attempts
    assert "<td>It failed with http_404.</td><td><code>http_404</code></td>" in attempts
    assert '<h2 id="attempts">' not in body(page.get(path(batch.images.get(number=1))))
