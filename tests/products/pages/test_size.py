"""The page of a Request with 100,000 pictures asks and sends no more than that of a small one."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from products.models import Request
from tests.support.factories import submit

pytestmark = [pytest.mark.django_db, pytest.mark.needs("PostgreSQL")]

MOST_BYTES = 100_000
#: Five pictures to a row, with names and addresses as long as those of real shops. Nine of ten are completed,
#: the others failed for one of three causes at one of a hundred servers.
ROWS = """
    INSERT INTO products_product (id, request_id, row_number, serial_number, product_name, cells)
    SELECT md5('row ' || n)::uuid, %(request)s, n, 'SKU-' || n, 'Floor lamp, shade of linen, ' || n, '[]'
    FROM generate_series(1, %(images)s / 5) n
"""
IMAGES = """
    INSERT INTO products_image (
        id, request_id, number, url, host, status, due_at, attempts, crashes, error_code, error_detail,
        unchanged, source_bytes, source_width, source_height, source_format,
        output_key, external_url, output_bytes, output_width, output_height, output_format
    )
    SELECT md5('image ' || n)::uuid, %(request)s, n,
        'https://cdn-' || n / 10 %% 100 || '.example/media/catalog/product/cache/2400x2400/' || n || '.jpg',
        'cdn-' || n / 10 %% 100 || '.example', CASE n %% 10 WHEN 0 THEN 'failed' ELSE 'completed' END,
        now(), 1, 0,
        CASE n %% 10 WHEN 0 THEN 'http_50' || n / 10 %% 3 ELSE '' END,
        CASE n %% 10 WHEN 0 THEN 'The server answered 503 Service Unavailable.' ELSE '' END,
        false, 325123, 1600, 1200, 'jpeg',
        CASE n %% 10 WHEN 0 THEN '' ELSE 'images/00/' || md5(n::text) || '.jpg' END, '',
        39123, 1600, 1200, 'jpeg'
    FROM generate_series(1, %(images)s) n
"""
PLACES = """
    INSERT INTO products_productimage (product_id, image_id, position)
    SELECT md5('row ' || (n - 1) / 5 + 1)::uuid, md5('image ' || n)::uuid, (n - 1) %% 5
    FROM generate_series(1, %(images)s) n
"""


def large(owner: User, images: int, status: str) -> Request:
    """A Request with so many pictures, all settled, written past the code that would make it."""
    batch = submit(owner)
    with connection.cursor() as cursor:
        for statement in (
            ROWS,
            IMAGES,
            PLACES,
            "ANALYZE products_product, products_image, products_productimage",
        ):
            cursor.execute(statement, {"request": batch.pk, "images": images})
    batch.status, batch.images_total, batch.products_total = status, images, images // 5
    batch.ingested_rows, batch.images_failed = batch.products_total, images // 10
    batch.images_completed = images - batch.images_failed
    batch.save()
    return batch


@pytest.mark.parametrize("images", [500, 100_000])
def test_a_page_is_made_with_a_dozen_queries_and_less_than_100_kb(
    page: Client, ann: User, images: int
) -> None:
    batch = large(ann, images, Request.Status.PROCESSING)
    rows = [f"products/{query}" for query in ("", "?code=http_501&host=cdn-1.example", "?q=SKU-1")]
    found = [f"pictures/{query}" for query in ("", "?status=failed&sort=saved", "?host=cdn-7.example&q=2400")]
    rows.append(f"products/?after={images // 5 - 26}")
    picture = f"pictures/{batch.images.get(number=17).pk}/"
    for status in (Request.Status.PROCESSING, Request.Status.COMPLETED_WITH_ERRORS):
        Request.objects.filter(pk=batch.pk).update(status=status)
        for path in ("", *rows, *found, picture, "changes/", "runs/", "deliveries/"):
            with CaptureQueriesContext(connection) as asked:
                answer = page.get(batch.get_absolute_url() + path)
            assert answer.status_code == 200, (status, path)
            assert len(asked) <= 12, (status, path)
            assert len(answer.content) < MOST_BYTES, (status, path)
            for shown in ("products", "tiles"):
                assert answer.context.get(shown, True), (status, path)


def test_a_search_of_pictures_reads_the_range_by_an_index(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.pages.gallery.MAX_SEARCHED", 5_000)
    batch = large(ann, 100_000, Request.Status.COMPLETED_WITH_ERRORS)
    path = f"{batch.get_absolute_url()}pictures/"
    for query in ("", "?q=17", "?format=jpeg&sort=saved", "?smaller=2000", "?status=unchanged", "?host=x"):
        images = page.get(path + query).context["page"].paginator.object_list
        for searched in (images, images.order_by()):
            assert "Seq Scan" not in searched.explain(), query
