"""Results of feeds, delivered to a URL or to storage after each good run."""

import base64
import os
import socket
import stat
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import Client
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.feeds import delivery as attempts
from processing.feeds import tasks
from processing.feeds.delivery import NO_RESULT, deliver, result_key
from processing.webhooks.delivery_queue import RETRY_DELAYS_SECONDS
from processing.work.pipeline import Pipeline
from processing.workers.models import Worker
from processing.workers.prune import GRACE, prune
from processing.workers.recovery import recover, take_over
from products import lifecycle
from products.feeds import deliveries, runs
from products.feeds.deliveries import set_target
from products.feeds.latest import latest_result
from products.feeds.models import STORAGE, Feed, FeedDelivery
from products.models import Request
from products.models.files import StorageUnavailable
from tests.processing.conftest import Broker
from tests.support.clients import transport
from tests.support.factories import JPEG, OTHER_JPEG, OTHER_URL, client_of, make_csv, make_user, settle
from tests.support.factories import URL as PICTURE
from tests.support.feeds import WORKER, completed, make_feed
from tests.support.origin import Answer, Origin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker", "no_worker", "http")]
OK = Answer(status=204)


@pytest.fixture
def http(monkeypatch: MonkeyPatch) -> Iterator[httpx.AsyncBaseTransport]:
    """The transport of webhooks, which may connect to loopback."""
    with transport("127.0.0.0/8", max_connections=2) as guarded:
        monkeypatch.setattr(attempts, "shared_transport", lambda: guarded)
        yield guarded


@pytest.fixture(autouse=True)
def results(settings: Settings, tmp_path: Path) -> Path:
    """The folder of results in storage."""
    options = {**settings.STORAGES["results"].get("OPTIONS", {}), "location": tmp_path}
    settings.STORAGES = settings.STORAGES | {"results": settings.STORAGES["results"] | {"OPTIONS": options}}
    return tmp_path / "results"


@pytest.fixture
def ann() -> User:
    return make_user()


def feed_to(owner: User, target: str) -> Feed:
    feed = make_feed(owner)
    set_target(feed, target)
    return feed


def attempt(feed: Feed) -> FeedDelivery:
    """The delivery of a feed after one attempt, which is due at once."""
    FeedDelivery.objects.exclude(due_at=None).update(due_at=timezone.now())
    claimed = deliveries.claim(feed.pk, WORKER)
    assert claimed
    deliver(claimed)
    return FeedDelivery.objects.get(feed=feed)


def pulled(feed: Feed) -> bytes:
    """The latest result as a shop reads it."""
    feed.refresh_from_db()
    answer: Any = Client().get(urlsplit(feed.latest_url).path)
    return b"".join(answer.streaming_content)


def test_the_result_of_each_good_run_is_put_to_the_url(ann: User, origin: Origin) -> None:
    origin.add("/drop/catalogue.csv", OK)
    target = f"http://shop:pass%20word@127.0.0.1:{origin.port}/drop/catalogue.csv?signature=s%2Fecret"
    feed = feed_to(ann, target)
    completed(feed, {PICTURE: JPEG})
    delivery = attempt(feed)
    assert (delivery.due_at, delivery.claimed_by, delivery.error) == (None, None, "")
    assert delivery.delivered_at
    (received,) = origin.received
    assert (received.method, received.target) == ("PUT", "/drop/catalogue.csv?signature=s%2Fecret")
    assert received.body == pulled(feed)
    assert received.headers["content-type"] == "text/csv"
    assert received.headers["content-length"] == str(len(received.body))
    assert received.headers["authorization"] == f"Basic {base64.b64encode(b'shop:pass word').decode()}"
    assert not deliveries.claim(feed.pk, WORKER)

    completed(feed, {PICTURE: OTHER_JPEG})
    attempt(feed)
    assert origin.received[-1].body == pulled(feed) != received.body


def test_a_run_that_is_held_failed_or_canceled_delivers_nothing(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: "http_404"})
    assert not deliveries.claim(feed.pk, WORKER)
    rows = [(number, "Chair", PICTURE) for number in range(6)]
    completed(feed, {PICTURE: JPEG}, make_csv(*rows))
    attempt(feed)
    completed(feed, {PICTURE: JPEG}, make_csv(*rows[:2]))
    assert not deliveries.claim(feed.pk, WORKER)
    assert runs.confirm(Feed.objects.get())
    attempt(feed)
    assert [len(one.body.splitlines()) for one in origin.received] == [7, 3]


def test_the_end_of_a_retry_is_delivered_too(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    run = completed(
        feed, {PICTURE: JPEG, OTHER_URL: "timeout"}, make_csv((1, "Chair", f"{PICTURE} {OTHER_URL}"))
    )
    assert run.request
    lifecycle.retry(run.request)
    attempt(feed)  # the result as it was before
    settle(Request.objects.get(), {OTHER_URL: JPEG})
    attempt(feed)
    before, after = origin.received
    assert b"It failed with timeout." in before.body and b"It failed" not in after.body


def test_a_result_whose_rows_are_being_swept_waits(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    Request.objects.update(sweep="cancel")
    delivery = attempt(feed)
    assert delivery.due_at and delivery.due_at > timezone.now() and not delivery.failures
    Request.objects.update(sweep="")
    assert attempt(feed).due_at is None
    assert len(origin.received) == 1


def test_a_result_that_changes_while_it_is_read_is_read_again(
    ann: User, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    run = completed(
        feed, {PICTURE: JPEG, OTHER_URL: "timeout"}, make_csv((1, "Chair", f"{PICTURE} {OTHER_URL}"))
    )
    read = latest_result

    def changed(batch: Request) -> Iterator[bytes]:
        pieces = read(batch)
        yield next(pieces)
        lifecycle.retry(batch)
        yield from pieces

    monkeypatch.setattr(attempts, "latest_result", changed)
    delivery = attempt(feed)
    assert (delivery.failures, delivery.error, origin.received) == (0, "", [])
    monkeypatch.setattr(attempts, "latest_result", read)
    assert run.request and attempt(feed).delivered_at


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=403), "127.0.0.1 answered 403 Forbidden."),
        (Answer(status=302, headers={"Location": "/b.csv"}), "127.0.0.1 answered 302 Found."),
        (None, ""),
    ],
    ids=["status", "redirect", "connection"],
)
def test_a_failed_delivery_is_said_and_tried_again_as_webhooks_are(
    ann: User, origin: Origin, answer: Answer | None, error: str
) -> None:
    url = origin.add("/a.csv", answer or (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)))
    feed = feed_to(ann, url)
    completed(feed, {PICTURE: JPEG})
    api = client_of(ann)
    for number, seconds in enumerate(RETRY_DELAYS_SECONDS, 1):
        before = timezone.now()
        delivery = attempt(feed)
        assert delivery.error == error or not answer
        assert delivery.failures == number and delivery.error and delivery.due_at
        assert delivery.due_at >= before + timedelta(seconds=seconds)
        if number == 2:
            break
    shown = api.get(f"/api/feeds/{feed.pk}/").json()
    assert shown["delivered"] == {"at": None, "error": delivery.error}
    page = api.get(feed.get_absolute_url()).content.decode()
    assert delivery.error in page
    FeedDelivery.objects.update(failures=len(RETRY_DELAYS_SECONDS))
    delivery = attempt(feed)
    assert delivery.due_at is None and delivery.error

    origin.add("/a.csv", OK)
    completed(feed, {PICTURE: JPEG})  # the next run delivers anew
    assert not attempt(feed).error
    shown = api.get(f"/api/feeds/{feed.pk}/").json()
    assert shown["delivered"]["at"] and shown["delivered"]["error"] is None


def test_a_receiver_that_asks_to_wait_is_waited_for(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", Answer(status=503, headers={"Retry-After": "600"})))
    completed(feed, {PICTURE: JPEG})
    before = timezone.now()
    delivery = attempt(feed)
    assert delivery.due_at and delivery.due_at >= before + timedelta(seconds=600)


def test_a_private_address_is_refused(ann: User, origin: Origin, monkeypatch: MonkeyPatch) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    with transport(max_connections=1) as guarded:
        monkeypatch.setattr(attempts, "shared_transport", lambda: guarded)
        delivery = attempt(feed)
    assert "can allow it with WEBHOOK_ALLOWED_NETWORKS." in delivery.error
    assert not origin.received


def test_a_result_in_storage_is_replaced_and_never_public(ann: User, results: Path) -> None:
    feed = feed_to(ann, STORAGE)
    for picture in (JPEG, OTHER_JPEG):
        completed(feed, {PICTURE: picture})
        assert not attempt(feed).error
        (path,) = (one for one in results.rglob("*") if one.is_file())
        assert path == results / str(feed.pk) / "latest.csv"
        assert path.read_bytes() == pulled(feed)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for place in ("/media/", "/", "/images/"):
        assert client_of(ann).get(f"{place}{result_key(feed.pk)}").status_code == 404


def test_storage_that_is_down_is_tried_again(ann: User, monkeypatch: MonkeyPatch) -> None:
    feed = feed_to(ann, STORAGE)
    completed(feed, {PICTURE: JPEG})

    def down(*_: object, **__: object) -> None:
        raise OSError("down")

    monkeypatch.setattr("processing.storage.outputs.LocalStorage._save", down)
    delivery = attempt(feed)
    assert (delivery.error, delivery.failures) == (StorageUnavailable.detail, 1)


def test_a_target_that_cannot_be_decrypted_is_said(ann: User, origin: Origin, settings: Settings) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    settings.SECRET_KEY = "another-key-that-nothing-was-encrypted-with-so-far"
    delivery = attempt(feed)
    assert (delivery.error, delivery.due_at) == (attempts.UNREADABLE_TARGET, None)
    assert client_of(ann).get(f"/api/feeds/{feed.pk}/").json()["deliver_to"] == ""


def test_a_later_result_follows_one_that_is_being_delivered(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    first = deliveries.claim(feed.pk, WORKER)
    assert first
    completed(feed, {PICTURE: OTHER_JPEG})
    assert not deliveries.claim(feed.pk, uuid.uuid4())  # one at a time
    deliveries.succeed(first)
    assert attempt(feed).due_at is None
    assert origin.received[-1].body == pulled(feed)


def test_a_changed_target_is_not_told_of_an_attempt_at_the_one_before(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    claimed = deliveries.claim(feed.pk, WORKER)
    assert claimed
    set_target(feed, origin.add("/b.csv", OK))
    deliveries.postpone(claimed, 5, "It failed.")
    delivery = FeedDelivery.objects.get()
    assert (delivery.error, delivery.failures, delivery.due_at) == ("", 0, None)
    set_target(feed, None)
    deliveries.succeed(claimed)
    assert not FeedDelivery.objects.exists()


def test_the_delivery_of_a_dead_worker_is_made_again(ann: User, origin: Origin, broker: Broker) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    assert deliveries.claim(feed.pk, uuid.uuid4())
    recover()
    delivery = FeedDelivery.objects.get()
    assert (delivery.claimed_by, delivery.failures) == (None, 1)
    assert not attempt(feed).error

    worker = Worker.objects.create()
    completed(feed, {PICTURE: JPEG})
    assert deliveries.claim(feed.pk, worker.pk)
    recover()
    assert FeedDelivery.objects.get().claimed_by == worker.pk
    deliveries.give_back(worker.pk)
    assert FeedDelivery.objects.get().claimed_by is None
    assert deliveries.claim(feed.pk, worker.pk)
    take_over()
    assert FeedDelivery.objects.get().claimed_by is None


def test_a_delivery_that_ends_each_worker_is_given_up(ann: User, origin: Origin, broker: Broker) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    for _ in range(deliveries.MAX_FAILURES):
        assert deliveries.claim(feed.pk, uuid.uuid4())
        recover()
    delivery = FeedDelivery.objects.get()
    assert (delivery.due_at, delivery.claimed_by) == (None, None)
    assert delivery.error == deliveries.MANY_CRASHES


def test_a_result_that_is_gone_is_not_called_delivered(ann: User, origin: Origin) -> None:
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    feed.runs.all().delete()
    delivery = attempt(feed)
    assert (delivery.delivered_at, delivery.due_at) == (None, None)
    assert delivery.error == NO_RESULT and not origin.received


def test_a_worker_delivers_after_the_run(
    ann: User, origin: Origin, broker: Broker, pipeline: Pipeline, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("processing.work.pipeline._current", pipeline)
    feed = feed_to(ann, origin.add("/a.csv", OK))
    completed(feed, {PICTURE: JPEG})
    assert str(feed.pk) in broker.feeds()
    tasks.deliver_result(str(feed.pk))
    tasks.deliver_result(str(feed.pk))  # the message comes twice
    assert [one.body for one in origin.received] == [pulled(feed)]


@pytest.mark.usefixtures("own_uploads")
def test_results_of_deleted_feeds_are_pruned(ann: User, results: Path) -> None:
    kept, gone = feed_to(ann, STORAGE), feed_to(ann, STORAGE)
    for feed in (kept, gone):
        storages["results"].save(result_key(feed.pk), ContentFile(b"csv"))
    gone_key = result_key(gone.pk)
    gone.delete()
    assert prune(36_500).files == 0  # it is new
    path = results.parent / gone_key
    old = (timezone.now() - GRACE - timedelta(minutes=1)).timestamp()
    for one in (path, results.parent / result_key(kept.pk)):
        os.utime(one, (old, old))
    assert prune(36_500).files == 1
    assert not path.exists() and (results.parent / result_key(kept.pk)).exists()
