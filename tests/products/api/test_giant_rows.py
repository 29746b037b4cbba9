"""Rows with very many picture URLs: no answer holds more of them than its page."""

import pytest
from django.contrib.auth.models import User
from django.db.models.signals import post_init
from django.test import Client

from products.models import Image, Request
from products.models.product import leading_rows
from tests.support.factories import address_of, ingest, make_csv, submit

ROWS, WIDTH = 6, 30


@pytest.fixture
def batch(ann: User, monkeypatch: pytest.MonkeyPatch) -> Request:
    """Six rows of 30 URLs and one of 200, where a page holds the places of two."""
    monkeypatch.setattr(leading_rows, "__defaults__", (2 * WIDTH,))
    widths = [WIDTH] * ROWS + [200]
    cells = ["|".join(f"https://cdn.example/{row}/{n}.jpg" for n in range(w)) for row, w in enumerate(widths)]
    return ingest(submit(ann, make_csv(*((row, "Lamp", cell) for row, cell in enumerate(cells, 1)))))


def test_a_page_of_rows_ends_where_its_places_are_too_many(api: Client, batch: Request) -> None:
    pages, url, back = [], address_of(batch, "products/"), ""
    while url:
        answer = api.get(url).json()
        pages.append([(row["row_number"], len(row["images"])) for row in answer["results"]])
        url, back = answer["next"], answer["previous"]
    assert pages == [[(1, 30), (2, 30)], [(3, 30), (4, 30)], [(5, 30), (6, 30)], [(7, 200)]]
    backwards = []
    while back:
        answer = api.get(back).json()
        backwards.append([row["row_number"] for row in answer["results"]])
        back = answer["previous"]
    assert backwards == [[5, 6], [3, 4], [1, 2]]


def test_the_earlier_status_holds_the_first_rows_that_fit(api: Client, batch: Request) -> None:
    products = api.get(f"/status/{batch.pk}").json()["products"]
    assert [product["serial_number"] for product in products] == ["1", "2"]


def test_the_page_loads_only_the_pictures_that_it_shows(api: Client, batch: Request) -> None:
    loaded: list[int] = []

    def count(**_given: object) -> None:
        loaded.append(1)

    post_init.connect(count, sender=Image)
    try:
        page = api.get(f"{batch.get_absolute_url()}products/").content.decode()
    finally:
        post_init.disconnect(count, sender=Image)
    assert len(loaded) <= 2 * 3
    assert "27 more" in page
