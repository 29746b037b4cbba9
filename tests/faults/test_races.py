"""Races between two changes of one Request or feed: each pair 200 times or RACE_ROUNDS, over two connections.

A deadlock is an OperationalError of one of the two, which fails the test.
"""

import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TypeVar

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from processing.feeds import tasks as feeds
from processing.storage.outputs import store
from processing.timing import DEAD_AFTER
from processing.work import ingest as ingestion
from processing.work.claim import ClaimedImage
from processing.workers.models import Worker
from processing.workers.prune import prune
from processing.workers.recovery import Recovered, recover
from products import lifecycle
from products.feeds import deliveries
from products.feeds.deliveries import set_target
from products.feeds.models import STORAGE, Feed, FeedRun, FeedRunStatus
from products.lifecycle import Outcome, sweeps
from products.lifecycle.signals import request_finished
from products.models import Image, Product, ProductImage, Request
from tests.support.batches import OTHER_WORKER, WORKER, claimed, complete, fail, held, make_urls, submitted
from tests.support.factories import make_user
from tests.support.feeds import make_feed
from tests.support.parallel import Threads

ROUNDS = int(os.environ.get("RACE_ROUNDS", "200"))

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("small_steps"),
    pytest.mark.timeout(max(900, 4 * ROUNDS)),  # 20 s alone for 200 rounds
]

IMAGES = 6
STEP = 3
Status = Request.Status
T = TypeVar("T")


class Endings:
    """The ends that were announced, by Request: run and status, in order."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self._endings: defaultdict[uuid.UUID, list[tuple[int, str]]] = defaultdict(list)

    def note(self, batch: Request, **_: object) -> None:
        self._endings[batch.pk].append((batch.run, batch.status))

    def of(self, batch: Request) -> list[tuple[int, str]]:
        return self._endings[batch.pk]


@pytest.fixture
def endings(request: pytest.FixtureRequest, figure: Callable[[str], None]) -> Iterator[Endings]:
    name = request.node.name.removeprefix("test_").replace("_", " ")
    endings = Endings(lambda counts: figure(f"{name}, {ROUNDS} times: {counts}"))
    request_finished.connect(endings.note)
    yield endings
    request_finished.disconnect(endings.note)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several transactions for each ingest and each sweep, between which the other side can come."""
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 2)
    monkeypatch.setattr(sweeps, "SWEEP_ROWS", STEP)


# --- Requests, made in one go ---


def submitted_often(*products: str | Sequence[str], per_round: int = 1) -> list[Request]:
    """Requests for each round, not yet ingested; they share their file."""
    fields = Request.objects.values().get(pk=submitted(*products).pk)
    Request.objects.all().delete()
    return Request.objects.bulk_create(
        Request(**fields | {"id": uuid.uuid4()}) for _ in range(per_round * ROUNDS)
    )


def working(per_round: int = 1) -> list[Request]:
    """Requests for each round, with one Product that shows pending Images."""
    urls = make_urls(IMAGES)
    batches = submitted_often(urls, per_round=per_round)
    Product.objects.bulk_create(
        Product(id=Product.id_for(batch.pk, 1), request=batch, row_number=1, cells=[]) for batch in batches
    )
    images = Image.objects.bulk_create(
        Image(id=Image.id_for(batch.pk, url), request=batch, number=number, url=url, due_at=batch.created_at)
        for batch in batches
        for number, url in enumerate(urls, 1)
    )
    ProductImage.objects.bulk_create(
        ProductImage(product_id=Product.id_for(image.request_id, 1), image=image, position=image.number - 1)
        for image in images
    )
    Request.objects.update(
        status=Status.PROCESSING, started_at=timezone.now(), ingested_rows=1, images_total=IMAGES
    )
    return list(Request.objects.all())


def failed(image: ClaimedImage) -> Outcome:
    return fail(image, "timeout", "It was too slow.")


# --- What the sides do ---


def flush(batch: Request, outcomes: list[Outcome], worker: uuid.UUID = WORKER) -> int:
    """Record in steps, each of which repeats an outcome of the step before. Return the number written."""
    starts = range(0, len(outcomes), STEP)
    steps = [outcomes[max(0, start - 1) : start + STEP] for start in starts]
    return sum(len(lifecycle.record(batch.pk, step, worker)) for step in steps)


def cancel(batch: Request) -> int:
    done = lifecycle.cancel(batch)
    sweep(batch)
    return done


def retry(batch: Request) -> int:
    try:
        again = lifecycle.retry(batch)
    except lifecycle.StillActive:
        again = 0
    sweep(batch)
    return again


def replace_urls(batch: Request) -> int:
    """Fetch what failed from another host. Return the number of Images."""
    try:
        changed = lifecycle.replace(batch, "shop.example", "cdn.example").count
    except lifecycle.StillActive:
        changed = 0
    sweep(batch)
    return changed


def finish_with_failures(batch: Request) -> None:
    """End the first run with one completed Image; the others have failed."""
    first, *others = claimed(batch)
    lifecycle.record(batch.pk, [complete(first), *map(failed, others)], WORKER)


def delete(batch: Request) -> int:
    lifecycle.delete(batch)
    sweep(batch)
    return 0


def prune_old() -> int:
    """Prune, sweeping as processing does when it hears of a delete; how many files were deleted."""
    files = prune(days=1).files
    for batch in Request.objects.unsettled().filter(sweep="delete"):
        sweep(batch)
    return files + prune(days=1).files


def delete_and_prune(batch: Request) -> int:
    """Delete as its owner does, then prune; how many files were deleted."""
    delete(batch)
    return prune(days=1).files


def sweep(batch: Request) -> None:
    while lifecycle.sweep(batch):
        pass


def work(batch: Request) -> int:
    """Claim and record until there is nothing to claim. Return the number of outcomes written."""
    taken = 0
    while images := claimed(batch, STEP):
        taken += len(lifecycle.record(batch.pk, [complete(image) for image in images], WORKER))
    return taken


def ingest(batch: Request) -> int:
    """Ingest from where it is by now; how many chunks were this one's."""
    return sum(1 for _ in ingestion.run(Request.objects.get(pk=batch.pk)))


def race(batches: list[Request], sides: Callable[[Request], Sequence[Callable[[], T]]]) -> list[list[T]]:
    """Return the results of both sides, by round.

    At first the one is ahead by somewhat more than a round takes, in the end the other, so that everything
    between occurs. In the first two rounds the one is done before the other begins, in the last two the
    other: either wins at least twice, however the machine shares its time.
    """
    results, pace = [], 0.0
    with Threads(2) as threads:
        for number, batch in enumerate(batches):
            if number < 2 or number >= len(batches) - 2:
                results.append(one_after_the_other(sides(batch), first=int(number >= 2)))
                continue
            lead = 1.25 * pace * (1 - 2 * number / len(batches))
            first, second = sides(batch)
            start = time.monotonic()
            results.append(threads.together([partial(after, -lead, first), partial(after, lead, second)]))
            seconds = time.monotonic() - start - abs(lead)
            pace += (seconds - pace) / min(number + 1, 10)
    return results


def one_after_the_other(calls: Sequence[Callable[[], T]], *, first: int) -> list[T]:
    """Make both calls, the one with the index `first` first, and return their results."""
    returned = {index: calls[index]() for index in (first, 1 - first)}
    return [returned[0], returned[1]]


def after(seconds: float, call: Callable[[], T]) -> T:
    time.sleep(max(0, seconds))
    return call()


# --- What has to be true whoever wins ---


def check(batches: list[Request], endings: Endings) -> Counter[tuple[str, int]]:
    """Check counters, claims and ends of what is as it was left; how many are in which status and run."""
    rows: defaultdict[uuid.UUID, list[Image]] = defaultdict(list)
    for image in Image.objects.all():
        rows[image.request_id].append(image)
    for batch in batches:
        batch.refresh_from_db()
        assert counters(batch) == counted(rows[batch.pk])
        assert batch.sweep == ""
        assert batch.is_active or not batch.images_pending
        assert {image.status for image in rows[batch.pk] if image.claimed_by} <= {Image.Status.PENDING}
        runs_over = batch.run - batch.is_active
        assert [run for run, _ in endings.of(batch)] == [*range(1, runs_over + 1)]
        assert batch.is_active or endings.of(batch)[-1] == (batch.run, batch.status)
    ends = Counter((batch.status, batch.run) for batch in batches)
    endings.report(", ".join(f"{status} in run {run} {n} times" for (status, run), n in sorted(ends.items())))
    return ends


def counters(batch: Request) -> Counter[str]:
    return Counter(
        total=batch.images_total,
        pending=batch.images_pending,
        completed=batch.images_completed,
        failed=batch.images_failed,
        canceled=batch.images_canceled,
        unchanged=batch.images_unchanged,
        bytes_source=batch.bytes_source,
        bytes_output=batch.bytes_output,
    )


def counted(images: list[Image]) -> Counter[str]:
    """Return the counts of rows, with which the counters must agree."""
    return Counter(image.status for image in images) + Counter(
        total=len(images),
        unchanged=sum(image.unchanged for image in images),
        bytes_source=sum(image.source_bytes or 0 for image in images),
        bytes_output=sum(image.output_bytes or 0 for image in images),
    )


# --- The races ---


def test_a_cancel_against_a_flush_that_finishes(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        outcomes = [complete(image) for image in claimed(batch)]
        return [partial(cancel, batch), partial(flush, batch, outcomes)]

    results = race(batches, sides)
    assert set(check(batches, endings)) == {(Status.CANCELED, 1), (Status.COMPLETED, 1)}
    for batch, (canceled, taken) in zip(batches, results, strict=True):
        assert canceled == (batch.status == Status.CANCELED)
        assert taken == batch.images_completed


def test_a_retry_against_the_finish_that_it_waits_for(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        images = claimed(batch)
        lifecycle.record(batch.pk, [failed(image) for image in images[:2]], WORKER)
        return [partial(retry, batch), partial(flush, batch, [complete(image) for image in images[2:]])]

    results = race(batches, sides)
    ends = check(batches, endings)
    assert set(ends) == {(Status.COMPLETED_WITH_ERRORS, 1), (Status.PROCESSING, 2)}
    for batch, (again, taken) in zip(batches, results, strict=True):
        assert taken == batch.images_completed == IMAGES - 2
        assert again == batch.images_pending == (2 if batch.is_active else 0)


def test_a_delete_against_a_worker(endings: Endings) -> None:
    batches = working()
    results = race(batches, lambda batch: [partial(delete, batch), partial(work, batch)])
    for rows in Request, Product, Image, ProductImage:
        assert not rows.objects.exists()
    for batch, (_, taken) in zip(batches, results, strict=True):
        # What a delete has not reached yet is still taken, but ends nothing.
        assert endings.of(batch) in ([], [(1, Status.COMPLETED)])
        assert taken == IMAGES or not endings.of(batch)
    counts = Counter(taken for _, taken in results)
    assert {0, IMAGES} <= set(counts)
    endings.report(
        ", ".join(f"{taken} of {IMAGES} recorded {n} times" for taken, n in sorted(counts.items()))
    )


def test_two_flushes_that_finish(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        shares = [(worker, claimed(batch, IMAGES // 2, worker)) for worker in (WORKER, OTHER_WORKER)]
        return [
            partial(flush, batch, [complete(image) for image in images], worker) for worker, images in shares
        ]

    results = race(batches, sides)
    assert check(batches, endings) == {(Status.COMPLETED, 1): ROUNDS}
    assert results == [[IMAGES // 2, IMAGES // 2]] * ROUNDS


def test_two_ingests_of_a_catalogue_that_ends_with_its_last_row(endings: Endings) -> None:
    names = [f"{number}.jpg" for number in range(1, IMAGES + 1)]  # no addresses: failed from the start
    batches = submitted_often(*names, names[0])
    results = race(batches, lambda batch: [partial(ingest, batch)] * 2)
    assert check(batches, endings) == {(Status.FAILED, 1): ROUNDS}
    assert {sum(chunks) for chunks in results} == {4}
    for batch in batches:
        assert list(batch.products.values_list("row_number", flat=True)) == [*range(1, IMAGES + 2)]
        assert list(batch.images.values_list("number", "url")) == [*enumerate(names, 1)]
    assert ProductImage.objects.count() == ROUNDS * (IMAGES + 1)


def test_two_recoveries_after_a_worker_that_died(endings: Endings) -> None:
    batches = working()
    Request.objects.update(dispatched_at=timezone.now())
    epochs = {batch.pk: batch.epoch for batch in batches}

    def sides(batch: Request) -> list[Callable[[], Recovered]]:
        dead = Worker.objects.create(seen_at=timezone.now() - DEAD_AFTER - timedelta(seconds=1))
        claimed(batch, worker=dead.pk)
        Request.objects.filter(pk=batch.pk).update(dispatched_at=None)
        return [recover] * 2

    results = race(batches, sides)
    assert check(batches, endings) == {(Status.PROCESSING, 1): ROUNDS}
    for batch, rounds in zip(batches, results, strict=True):
        assert sum(one.images_released for one in rounds) == IMAGES
        assert sum(one.requests_sent for one in rounds) == 1
        assert batch.epoch == epochs[batch.pk] + 1
    assert set(Image.objects.values_list("crashes", flat=True)) == {1}
    assert held() == 0
    assert not Worker.objects.exists()


def test_two_retries(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        first, *others = claimed(batch)
        lifecycle.record(batch.pk, [complete(first), *map(failed, others)], WORKER)
        return [partial(retry, batch)] * 2

    results = race(batches, sides)
    assert check(batches, endings) == {(Status.PROCESSING, 2): ROUNDS}
    assert all(sorted(again) == [0, IMAGES - 1] for again in results)
    assert {batch.images_pending for batch in batches} == {IMAGES - 1}


def test_a_cancel_against_the_retry_of_what_is_active_or_has_ended(endings: Endings) -> None:
    batches = working()
    shares = cycle([STEP, IMAGES])

    def sides(batch: Request) -> list[Callable[[], int]]:
        first, *others = claimed(batch)[: next(shares)]
        lifecycle.record(batch.pk, [complete(first), *map(failed, others)], WORKER)
        return [partial(cancel, batch), partial(retry, batch)]

    results = race(batches, sides)
    # A canceled retry leaves the failures as they were.
    ends = {(Status.CANCELED, 1), (Status.PROCESSING, 2), (Status.COMPLETED_WITH_ERRORS, 2)}
    assert set(check(batches, endings)) == ends
    for batch, (canceled, again) in zip(batches, results, strict=True):
        assert canceled or batch.is_active
        assert again == (IMAGES - 1 if batch.run == 2 else 0)


def test_a_cancel_of_a_later_run_against_the_flush_that_finishes_it(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        finish_with_failures(batch)
        retry(batch)
        batch.refresh_from_db()
        outcomes = [complete(image) for image in claimed(batch)]
        return [partial(cancel, batch), partial(flush, batch, outcomes)]

    results = race(batches, sides)
    ends = check(batches, endings)
    assert set(ends) == {(Status.COMPLETED, 2), (Status.COMPLETED_WITH_ERRORS, 2)}
    for batch, (canceled, taken) in zip(batches, results, strict=True):
        assert canceled == (batch.status == Status.COMPLETED_WITH_ERRORS)
        assert taken == batch.images_completed - 1
        # What was not taken has failed as before, with its cause.
        assert batch.images.filter(status="failed", error_code="timeout").count() == IMAGES - 1 - taken
        run = batch.runs.get(number=2)
        assert (run.canceled, run.completed, run.failed) == (
            canceled,
            batch.images_completed,
            batch.images_failed,
        )


def test_a_replace_against_the_finish_that_it_waits_for(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        images = claimed(batch)
        lifecycle.record(batch.pk, [failed(image) for image in images[:2]], WORKER)
        outcomes = [complete(image) for image in images[2:]]
        return [partial(replace_urls, batch), partial(flush, batch, outcomes)]

    results = race(batches, sides)
    assert set(check(batches, endings)) == {(Status.COMPLETED_WITH_ERRORS, 1), (Status.PROCESSING, 2)}
    for batch, (again, taken) in zip(batches, results, strict=True):
        assert taken == batch.images_completed == IMAGES - 2
        assert again == batch.images_pending == (2 if batch.is_active else 0)
        assert batch.images.filter(fetched_from__contains="cdn.example").count() == again


def test_a_replace_against_a_retry(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        finish_with_failures(batch)
        return [partial(replace_urls, batch), partial(retry, batch)]

    results = race(batches, sides)
    assert check(batches, endings) == {(Status.PROCESSING, 2): ROUNDS}
    assert {tuple(result) for result in results} == {(IMAGES - 1, 0), (0, IMAGES - 1)}
    for batch, (replaced, _again) in zip(batches, results, strict=True):
        assert batch.run_by == ("replace" if replaced else "retry")
        assert batch.images.filter(host="cdn.example").count() == replaced


def test_a_cancel_against_the_replace_that_it_stops(endings: Endings) -> None:
    batches = working()

    def sides(batch: Request) -> list[Callable[[], int]]:
        finish_with_failures(batch)
        return [partial(cancel, batch), partial(replace_urls, batch)]

    results = race(batches, sides)
    assert set(check(batches, endings)) == {(Status.PROCESSING, 2), (Status.COMPLETED_WITH_ERRORS, 2)}
    for batch, (canceled, replaced) in zip(batches, results, strict=True):
        assert replaced == IMAGES - 1
        assert canceled == (not batch.is_active)
        assert batch.images.exclude(fetched_from="").count() == (0 if canceled else IMAGES - 1)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["old", "deleted"])
def test_a_prune_against_the_reuse_of_an_output(
    *, is_deleted: bool, endings: Endings, settings: Settings, tmp_path: Path
) -> None:
    """The Request that the output is of is old enough for prune, or deleted by its owner just before."""
    settings.MEDIA_ROOT = tmp_path
    batches = working(per_round=2)
    pairs = dict(zip(batches[:ROUNDS], batches[ROUNDS:], strict=True))
    long_ago = timezone.now() - timedelta(days=2)

    def sides(earlier: Request) -> list[Callable[[], int]]:
        first, *others = claimed(earlier)
        made = replace(complete(first), output_key=store(str(earlier.pk).encode(), "jpg"))
        os.utime(default_storage.path(made.output_key), times=(long_ago.timestamp(),) * 2)
        lifecycle.record(earlier.pk, [made, *map(failed, others)], WORKER)
        if not is_deleted:
            Request.objects.filter(pk=earlier.pk).update(finished_at=long_ago)
        (image,) = claimed(pairs[earlier], 1)
        reused = replace(made, id=image.id, unchanged=True, taken_from=first.id)
        remove = partial(delete_and_prune, earlier) if is_deleted else prune_old
        return [remove, partial(flush, pairs[earlier], [reused])]

    results = race(list(pairs), sides)
    assert set(check(list(pairs.values()), endings)) == {(Status.PROCESSING, 1)}
    reused = [Image.objects.get(request=batch, number=1) for batch in pairs.values()]
    for image, (_files, taken) in zip(reused, results, strict=True):
        assert taken == 1
        if image.status == Image.Status.COMPLETED:
            assert image.unchanged
            assert default_storage.exists(image.output_key)
        else:
            assert (image.status, image.output_key, image.unchanged) == (Image.Status.PENDING, "", False)
    reuses = sum(image.unchanged for image in reused)
    assert 2 <= reuses <= ROUNDS - 2  # see race()
    assert sum(files for files, _taken in results) == ROUNDS - reuses
    endings.report(f"reused {reuses} times, deleted {ROUNDS - reuses} times")


# --- Feeds ---


def test_of_two_workers_one_starts_the_run_of_a_feed_and_one_delivers_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("processing.feeds.receivers.can_send", lambda: False)
    feed = make_feed(make_user(), schedule="0 2 * * *")
    set_target(feed, STORAGE)
    with Threads(2) as workers:
        for number in range(1, ROUNDS + 1):
            Feed.objects.update(next_run_at=timezone.now() - timedelta(seconds=1))
            assert sorted(workers.together([feeds.start_due, feeds.start_due])) == [0, 1]
            assert FeedRun.objects.count() == number
            FeedRun.objects.active().update(status=FeedRunStatus.COMPLETED)
            deliveries.plan(feed.pk)
            claims = [partial(deliveries.claim, feed.pk, worker) for worker in (WORKER, OTHER_WORKER)]
            (claimed_one,) = filter(None, workers.together(claims))
            deliveries.succeed(claimed_one)
