"""Search in the admin: results, indexes and numbers of queries."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from products.models import Image, Product, Request
from tests.support.factories import URL, client_of, ingest, make_csv, make_user, settle, submit

pytestmark = pytest.mark.django_db

REQUESTS, IMAGES, PRODUCTS = (f"/admin/products/{model}/" for model in ("request", "image", "product"))
#: Longer than what an index holds of it.
LONG_URL = f"https://shop.example/{'a' * 1000}.jpg"
LONG_SERIAL = "S" * 5000


@pytest.fixture
def boss() -> Client:
    return client_of(User.objects.create_superuser("boss"))


def found(client: Client, path: str, **query: str) -> list[Any]:
    """The rows that a list shows."""
    return list(client.get(path, query).context["cl"].result_list)


def outcome(owner: User, *codes: str, name: str = "catalogue.csv") -> Request:
    """A finished Request whose Images have failed with these codes; "" for none."""
    urls = [f"https://shop.example/{name}/{number}.jpg" for number in range(len(codes))]
    rows = [(f"{name}-{number}", "Chair", url) for number, url in enumerate(urls)]
    batch = ingest(submit(owner, make_csv(*rows), name))
    return settle(batch, {url: code or b"a picture" for url, code in zip(urls, codes, strict=True)})


def plan(rows: "QuerySet[Any]") -> str:
    """Return PostgreSQL's plan for these rows with sequential scans disabled."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    return rows.order_by().explain()


def test_a_request_is_found_by_everything_that_is_known_of_it(boss: Client, ann: User) -> None:
    batch = ingest(submit(ann, make_csv(("A-7", "Chair", URL)), "chairs.csv"))
    submit(make_user("bob"), make_csv(("A-70", "Lamp", f"{URL}?2")), "lamps.csv")
    for text in ("chair", "CHAIRS", "ann", "A-7", URL, f"  {batch.pk} ", batch.pk.hex):
        assert found(boss, REQUESTS, q=text) == [batch], text
    for text in ("A-", "Chair seat", f"{URL}?", str(uuid4())):
        assert found(boss, REQUESTS, q=text) == [], text


def test_rows_are_found_by_what_they_are_called(boss: Client, ann: User) -> None:
    batch = ingest(submit(ann, make_csv((LONG_SERIAL, "Chair", LONG_URL), (f"{LONG_SERIAL}2", "", URL))))
    image, product = batch.images.get(number=1), batch.products.get(row_number=1)
    assert found(boss, IMAGES, q=LONG_URL) == [image]
    assert found(boss, IMAGES, q=LONG_URL[:-1]) == []
    assert found(boss, PRODUCTS, q=LONG_SERIAL) == [product]
    assert found(boss, REQUESTS, q=LONG_URL) == found(boss, REQUESTS, q=LONG_SERIAL) == [batch]


def test_a_serial_number_may_look_like_an_id(boss: Client, ann: User) -> None:
    serial = uuid4()
    batch = ingest(submit(ann, make_csv((serial, "Chair", URL))))
    assert found(boss, PRODUCTS, q=str(serial)) == [batch.products.get()]


@pytest.mark.needs("PostgreSQL")
@pytest.mark.parametrize("length", [10, 5000])
def test_a_serial_number_and_a_url_are_found_by_an_index(length: int) -> None:
    text = "x" * length
    assert "product_serial" in plan(Product.objects.filter(Product.has_serial(text)))
    assert "image_url" in plan(Image.objects.filter(Image.has_url(text)))


@pytest.mark.needs("PostgreSQL")
def test_lists_by_status_and_what_has_settled_have_an_index(ann: User) -> None:
    # With rows and statistics: of an empty table the planner takes any index.
    urls = " ".join(f"https://shop.example/{number}.jpg" for number in range(1000))
    batch = ingest(submit(ann, make_csv((1, "Chair", urls))))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE products_image")
    assert "image_status" in plan(Image.objects.filter(status="canceled", request=batch.pk))
    assert "image_settled" in plan(Image.objects.filter(settled_at__gte=timezone.now()))


def test_requests_are_filtered_by_failures_and_owner(boss: Client, ann: User) -> None:
    bob = make_user("bob")
    failed, good = outcome(ann, "dns", "", name="a.csv"), outcome(bob, "", name="b.csv")
    assert found(boss, REQUESTS, failures="yes") == [failed]
    assert found(boss, REQUESTS, failures="no") == [good]
    assert found(boss, REQUESTS, owner=str(bob.pk)) == [good]
    assert len(found(boss, REQUESTS, owner="nobody")) == 2


def test_an_owner_is_offered_who_has_uploaded_of_late_or_is_chosen(
    boss: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.admin.requests.OFFERED_OWNERS", 1)
    submit(ann)
    submit(make_user("bob"))

    def offered(**query: str) -> list[str]:
        (spec,) = [s for s in boss.get(REQUESTS, query).context["cl"].filter_specs if s.title == "owner"]
        return [name for _pk, name in spec.lookup_choices]

    assert offered() == ["bob"]
    assert offered(owner=str(ann.pk)) == ["bob", "ann"]


def test_images_are_filtered_by_cause(boss: Client, ann: User) -> None:
    batch = outcome(ann, "dns", "timeout", "dns", "")
    outcome(ann, "dns", name="other.csv")
    of_request = {"request__id__exact": str(batch.pk)}
    assert len(found(boss, IMAGES, error_code="dns")) == 3
    assert len(found(boss, IMAGES, **of_request, error_code="dns")) == 2
    specs = boss.get(IMAGES, of_request).context["cl"].filter_specs
    assert [choice for s in specs if s.title == "cause" for choice, _ in s.lookup_choices] == [
        "dns",
        "timeout",
    ]


def test_a_request_that_is_being_deleted_is_gone(boss: Client, ann: User) -> None:
    batch = outcome(ann, "dns")
    Request.objects.update(sweep="delete")
    assert found(boss, REQUESTS) == []
    assert boss.get(f"{REQUESTS}{batch.pk}/change/").status_code == 302


def test_lists_and_pages_cost_as_many_queries_for_many_rows_as_for_one(
    boss: Client, ann: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    batches = [outcome(ann, "dns", "", "timeout", name=f"{number}.csv") for number in range(5)]
    batch, image = batches[0], batches[0].images.get(number=1)
    of_request = f"?request__id__exact={batch.pk}"
    limits = {
        # The session and the user; the owners, the count, the rows, and twice the dates.
        REQUESTS: 7,
        f"{REQUESTS}?q=dns": 7,
        # The request, its owner, its failures, its deliveries.
        f"{REQUESTS}{batch.pk}/change/": 6,
        # The count, the rows and their requests; the causes where there is one request.
        IMAGES: 5,
        f"{IMAGES}{of_request}": 6,
        f"{IMAGES}?q=dns": 5,
        PRODUCTS: 5,
        f"{PRODUCTS}{of_request}": 5,
        # With its request, its renditions, and the products that show it.
        f"{IMAGES}{image.pk}/change/": 6,
        # With its request, its places and its images.
        f"{PRODUCTS}{batch.products.all()[0].pk}/change/": 6,
    }
    ContentType.objects.get_for_models(Request, Image, Product)  # a process looks them up once
    for path, limit in limits.items():
        with django_assert_max_num_queries(limit):
            assert boss.get(path).status_code == 200, path


def test_products_that_show_an_image_are_named_up_to_a_number(
    boss: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.admin.rows.NAMED_PRODUCTS", 2)
    batch = ingest(submit(ann, make_csv(*[(number, f"Chair {number}", URL) for number in range(4)])))
    shown = boss.get(f"{IMAGES}{batch.images.get().pk}/change/").content.decode()
    assert len(re.findall(r'">\d: Chair', shown)) == 2
    assert "and others" in shown


def test_what_has_settled_is_counted_by_outcome_and_only_so_far(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = timezone.now()
    outcome(ann, "dns", "dns", "timeout", "")
    counts = Image.objects.outcomes_since(began)
    assert counts.since == began
    assert sorted(counts.counts) == [("completed", "", 1), ("failed", "dns", 2), ("failed", "timeout", 1)]
    monkeypatch.setattr("products.models.image.COUNTED_OUTCOMES", 2)
    with CaptureQueriesContext(connection) as queries:
        counts = Image.objects.outcomes_since(began)
    assert len(queries) == 2
    assert counts.since > began
    assert sum(count for *_, count in counts.counts) == 3  # the third is the moment itself
