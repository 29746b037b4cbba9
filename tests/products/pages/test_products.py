"""The products of a Request, in pages, searched and filtered."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.pages import PICTURE, address, body, ingested, pictures, settle

pytestmark = pytest.mark.django_db


def rows(page: Client, path: str) -> list[int]:
    """The numbers of the rows that the page shows."""
    return [product.row_number for product in page.get(path).context["products"]]


def test_products_come_in_pages_of_25_forwards_and_backwards(page: Client, ann: User) -> None:
    path = address("request-products", ingested(ann, *pictures(60)))
    assert rows(page, path) == list(range(1, 26))
    assert rows(page, path + "?after=25") == list(range(26, 51))
    assert rows(page, path + "?after=50") == list(range(51, 61))
    assert rows(page, path + "?before=51") == list(range(26, 51))
    assert rows(page, path + "?before=11") == list(range(1, 11))
    middle = body(page.get(path + "?after=25"))
    assert "Rows 26 to 50 of 60" in middle
    assert f'href="{path}?before=26#products" rel="prev"' in middle
    assert f'href="{path}?after=50#products" rel="next"' in middle
    assert 'rel="next"' not in body(page.get(path + "?after=50"))
    assert 'rel="prev"' not in body(page.get(path + "?before=26"))


def test_products_are_found_by_serial_number_name_or_the_whole_url(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(30), ("X-77", "Ärmelschoner", "https://shop.example/1.jpg"))
    path = address("request-products", batch)
    assert rows(page, path + "?q=x-7") == [31]
    assert rows(page, path + "?q=Ärmel") == [31]
    assert rows(page, path + "?q=https://shop.example/1.jpg") == [1, 31]
    assert rows(page, path + "?q=https://shop.example/") == []
    assert "No rows match your search" in body(page.get(path + "?q=%25"))
    assert 'value="ärmel"' in body(page.get(path + "?q=ärmel"))


def test_products_are_filtered_by_status_and_pages_keep_the_filter(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(60))
    outcomes: list[bytes | str] = [PICTURE, "dns"]
    settle(batch, *outcomes * 30)
    path = address("request-products", batch)
    assert rows(page, path + "?status=failed") == list(range(2, 52, 2))
    shown = body(page.get(path + "?status=failed"))
    assert f'href="{path}?status=failed&amp;after=50#products" rel="next"' in shown
    assert rows(page, path + "?status=failed&after=50") == [52, 54, 56, 58, 60]
    assert rows(page, path + "?status=made-up") == list(range(1, 26))


@pytest.mark.parametrize("query", ["q=%00", "code=%00", "before=x", "status=processing", "after=" + "9" * 30])
def test_a_search_that_cannot_be_is_none(page: Client, ann: User, query: str) -> None:
    path = address("request-products", ingested(ann))
    assert page.get(f"{path}?{query}").status_code == 200


def test_of_many_pictures_the_first_three_are_shown_and_the_others_on_a_page_of_their_row(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"https://shop.example/{n}.jpg" for n in range(1, 8)]
    batch = ingested(ann, ("S1", "Chair", " ".join(urls)), ("S2", "Lamp", urls[0]))
    path = address("request-products", batch)
    shown = body(page.get(path))
    assert urls[2] in shown and urls[3] not in shown
    assert f'href="{path}?row=1#products">4 more pictures<' in shown
    assert all(url in body(page.get(f"{path}?row=1")) for url in urls)
    assert rows(page, f"{path}?row=1") == [1]
    monkeypatch.setattr("products.pages.products.MAX_PICTURES", 5)
    shown = body(page.get(f"{path}?row=1"))
    assert "2 more pictures of this row are in the result." in shown
    assert "more pictures<" not in shown


def test_a_picture_behind_a_failure_is_shown_however_late_in_its_row_it_comes(
    page: Client, ann: User
) -> None:
    urls = [f"https://shop.example/{n}.jpg" for n in range(1, 8)]
    batch = ingested(ann, ("S1", "Chair", " ".join(urls)))
    settle(batch, *[PICTURE] * 6, "dns")
    shown = body(page.get(address("request-products", batch) + "?code=dns&host=shop.example"))
    assert urls[6] in shown


def test_pictures_that_are_not_shown_count_for_the_status_of_their_row(page: Client, ann: User) -> None:
    urls = [f"https://shop.example/{n}.jpg" for n in range(1, 8)]
    batch = ingested(ann, ("S1", "Chair", " ".join(urls)), ("S2", "Lamp", urls[0]), ("S3", "Bare", ""))
    path = address("request-products", batch)

    def shown() -> list[str]:
        return [product.status for product in page.get(path).context["products"]]

    settle(batch, *[PICTURE] * 6)
    assert shown() == ["pending", "completed", "completed"]
    assert 'hx-trigger="every 3s"' in body(page.get(path))
    settle(batch, "dns")
    assert shown() == ["completed_with_errors", "completed", "completed"]


def test_a_picture_takes_few_bytes_of_the_page(page: Client, ann: User) -> None:
    sizes = []
    for count in (1, 2):
        urls = [[f"https://shop.example/{n}-{place}.jpg" for place in range(count)] for n in range(25)]
        batch = ingested(ann, *((f"S{n}", "Chair", " ".join(own)) for n, own in enumerate(urls)))
        settle(batch, *[PICTURE] * 25 * count)
        sizes.append(len(page.get(address("request-products", batch)).content))
    assert (sizes[1] - sizes[0]) / 25 < 750
