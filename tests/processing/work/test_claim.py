"""Claiming Images for a worker, and releasing them."""

import uuid
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from processing.work.claim import ClaimedImage, claim, release
from processing.work.tasks import dispatch
from products import lifecycle
from products.models import Image, Request
from tests.support.batches import OTHER_WORKER, WORKER, claimed, ingested, make_urls, working
from tests.support.parallel import together

pytestmark = pytest.mark.django_db


def numbers(images: Iterable[ClaimedImage]) -> list[int]:
    """Return the numbers of these Images in the catalogue."""
    return [Image.objects.get(pk=image.id).number for image in images]


# --- Claim ---


def test_a_claim_takes_images_due_first_first() -> None:
    batch = working(5)
    batch.images.filter(number=4).update(due_at=timezone.now() - timedelta(days=1))
    assert numbers(claimed(batch, 3)) == [4, 1, 2]
    assert numbers(claimed(batch, 3)) == [3, 5]
    assert set(batch.images.values_list("claimed_by", flat=True)) == {WORKER}


def test_a_claimed_image_has_what_an_attempt_needs() -> None:
    batch = ingested("http://shop.example:8080/1.jpg")
    batch.images.update(attempts=3, crashes=1)
    image = batch.images.get()
    assert claimed(batch) == [
        ClaimedImage(image.pk, "http://shop.example:8080/1.jpg", "shop.example:8080", 3, 1, batch)
    ]


def test_a_claim_skips_images_not_due_or_claimed_or_settled() -> None:
    batch = working(4)
    [other] = claimed(batch, 1, OTHER_WORKER)
    batch.images.filter(number=2).update(due_at=timezone.now() + timedelta(minutes=1))
    batch.images.filter(number=3).update(status=Image.Status.FAILED)
    assert numbers(claimed(batch)) == [4]
    assert Image.objects.get(pk=other.id).claimed_by == OTHER_WORKER


def test_a_claim_takes_images_of_its_own_request_only() -> None:
    batch, other = working(2), working(2)
    assert len(claimed(batch)) == 2
    assert len(claimed(other)) == 2


def test_a_claim_takes_nothing_once_its_epoch_is_over_or_the_request_has_finished() -> None:
    batch = working(2)
    successor = Request.objects.get(pk=batch.pk)
    assert dispatch(successor)
    assert claimed(batch) == []
    assert len(claimed(successor, 1)) == 1
    lifecycle.abort_ingest(successor, "The end.")
    assert claimed(successor) == []
    successor.refresh_from_db()
    assert claimed(successor) == []


def test_a_claim_takes_no_images_of_excluded_hosts() -> None:
    batch = ingested(*make_urls(2, "busy.example"), *make_urls(2, "idle.example:8080"))
    images = claim(batch, WORKER, 10, ["busy.example"])
    assert [image.host for image in images] == ["idle.example:8080"] * 2
    assert len(claimed(batch)) == 2


@pytest.mark.django_db(transaction=True)
def test_an_image_is_never_claimed_twice() -> None:
    batch = working(1000)

    def claim_all(worker: uuid.UUID) -> list[uuid.UUID]:
        mine = []
        while images := claimed(batch, 7, worker):
            mine += [image.id for image in images]
        return mine

    first, second = together([partial(claim_all, WORKER), partial(claim_all, OTHER_WORKER)])
    assert len(first) + len(second) == len({*first, *second})
    # A worker that finds all due rows locked stops early; the other one takes what is left.
    assert len(first) + len(second) == 1000
    assert batch.images.filter(claimed_by=WORKER).count() == len(first)


def test_a_claim_takes_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    batch = working(64)
    with django_assert_max_num_queries(4):
        assert len(claimed(batch, 64)) == 64


def test_reading_a_claimed_image_takes_no_query(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    batch = working(1)
    [image] = claimed(batch)
    with django_assert_max_num_queries(0):
        assert image.request_id == batch.pk
        assert (image.attempts, image.crashes, image.known, image.context) == (0, 0, None, None)


@pytest.mark.needs("PostgreSQL")
def test_a_claim_reads_its_index_and_never_the_whole_table() -> None:
    batches = [ingested(make_urls(2)) for _ in range(10)]
    now = timezone.now()
    Image.objects.bulk_create(
        Image(id=uuid.uuid4(), request=batch, number=number, host="shop.example", due_at=now)
        for batch in batches
        for number in range(3, 2003)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        for excluded_hosts in [], ["busy.example", "other.example"]:
            with CaptureQueriesContext(connection) as queries:
                claim(batches[0], WORKER, 64, excluded_hosts)
            select = next(query["sql"] for query in queries if "SKIP LOCKED" in query["sql"])
            cursor.execute(f"EXPLAIN {select}")
            plan = "\n".join(line for [line] in cursor.fetchall())
            assert "image_due" in plan
            assert "Seq Scan on products_image" not in plan
            assert "Sort" not in plan


# --- Release ---


def test_a_release_counts_a_crash_only_if_the_worker_died() -> None:
    batch = working(3)
    claimed(batch, 1)
    claimed(batch, 1, OTHER_WORKER)
    assert release(Image.objects.filter(claimed_by=WORKER), crashed=True) == 1
    assert release(Image.objects.filter(claimed_by=OTHER_WORKER), crashed=False) == 1
    assert list(batch.images.values_list("claimed_by", "crashes")) == [(None, 1), (None, 0), (None, 0)]
    assert {image.attempts for image in batch.images.all()} == {0}


def test_a_release_of_many_images_takes_several_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processing.work.claim.RELEASE_ROWS", 2)
    batch = working(5)
    claimed(batch)
    assert release(Image.objects.filter(claimed_by=WORKER), crashed=True) == 5
    assert list(batch.images.values_list("claimed_by", "crashes")) == [(None, 1)] * 5


@pytest.mark.needs("PostgreSQL")
@pytest.mark.django_db(transaction=True)
def test_a_release_skips_images_that_are_being_recorded() -> None:
    batch = working(2)
    first, _ = claimed(batch)
    with transaction.atomic():
        Image.objects.select_for_update().get(pk=first.id)
        [released] = together([partial(release, Image.objects.filter(claimed_by=WORKER), crashed=True)])
    assert released == 1
    assert batch.images.get(claimed_by=WORKER).pk == first.id


# --- Epochs ---


def test_only_one_of_two_processes_starts_the_next_epoch() -> None:
    batch = working(1)
    rival = Request.objects.get(pk=batch.pk)
    before = rival.epoch
    assert dispatch(batch)
    assert not dispatch(rival)
    batch.refresh_from_db()
    assert batch.epoch == before + 1


def test_a_finished_request_starts_no_epoch() -> None:
    batch = working(1)
    lifecycle.cancel(batch)
    batch.refresh_from_db()
    before = batch.epoch
    assert not dispatch(batch)
    batch.refresh_from_db()
    assert batch.epoch == before
