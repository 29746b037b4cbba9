import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest import CaptureFixture, LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from processing.storage.outputs import LocalStorage, store
from processing.webhooks.models import DeliveryStatus, Event, WebhookDelivery, WebhookEndpoint
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from processing.workers import worker
from processing.workers.clock import database_time
from processing.workers.models import PRUNE_EVERY, Maintenance, Worker
from processing.workers.prune import CHUNK_FILES, GRACE, Pruned, prune
from processing.workers.worker import Heartbeat, QueueProgress
from products import lifecycle
from products.lifecycle import Outcome, PictureFacts
from products.models import Image, Request
from tests.support.batches import WORKER, ingested, make_urls, submitted
from tests.support.parallel import together, wait_until

pytestmark = pytest.mark.django_db

NOTHING = Pruned(0, 0, 0)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, own_uploads: None) -> Path:
    """The folder of all stored files of a test: catalogues in `uploads`, outputs in `images`."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def catalogues() -> list[Path]:
    return list(Path(storages["uploads"].path("")).glob("*"))


def outputs() -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT, "images").rglob("*") if path.is_file()]


def age_files(age: timedelta = GRACE + timedelta(minutes=1)) -> None:
    """As if every file had been stored so long ago."""
    moment = (timezone.now() - age).timestamp()
    for path in Path(settings.MEDIA_ROOT).rglob("*"):
        os.utime(path, (moment, moment))


def finished(*pictures: bytes, days_ago: float = 0) -> Request:
    """A Request that finished so long ago, with these outputs."""
    batch = ingested(*make_urls(len(pictures)))
    facts = PictureFacts(1000, 40, 30, "jpeg")
    outcomes = [
        Outcome.completed(image.id, 1, output_key=store(picture, "jpg"), source=facts, output=facts)
        for image, picture in zip(claim(batch, WORKER, len(pictures)), pictures, strict=True)
    ]
    lifecycle.record(batch.pk, outcomes, WORKER)
    Request.objects.filter(pk=batch.pk).update(finished_at=timezone.now() - timedelta(days=days_ago))
    batch.refresh_from_db()
    assert batch.status == Request.Status.COMPLETED
    return batch


# --- Requests ---


def test_requests_that_finished_long_ago_go_with_their_rows() -> None:
    old, new = finished(b"old", days_ago=31), finished(b"new", days_ago=29)
    assert prune(30).requests == 1
    assert list(Request.objects.all()) == [new]
    assert not Image.objects.filter(request_id=old.pk).exists()


@pytest.mark.parametrize(
    "end", [lifecycle.cancel, lambda batch: lifecycle.abort_ingest(batch, "It cannot be read.")]
)
def test_requests_that_ended_otherwise_go_too(end: Callable[[Request], object]) -> None:
    end(ingested(*make_urls(1)))
    Request.objects.update(finished_at=timezone.now() - 2 * DAY)
    assert prune(1).requests == 1


def test_active_requests_never_go() -> None:
    waiting, processing, again = submitted(*make_urls(1)), ingested(*make_urls(1)), finished(b"", days_ago=90)
    again.images.update(status="failed", error_code="timeout")
    Request.objects.filter(pk=again.pk).update(status="failed", images_completed=0, images_failed=1)
    assert lifecycle.retry(again)
    Request.objects.update(created_at=timezone.now() - 90 * DAY, started_at=timezone.now() - 90 * DAY)
    age_files()
    assert prune(0) == NOTHING
    assert set(Request.objects.all()) == {waiting, processing, again}
    assert len(catalogues()) == 3


def test_a_request_that_is_tried_again_at_the_last_moment_stays(monkeypatch: MonkeyPatch) -> None:
    first, second = finished(b"1", days_ago=3), finished(b"2", days_ago=2)
    delete = lifecycle.delete

    def retry_and_delete(batch: Request, *, only_finished: bool) -> bool:
        if batch == second:
            Request.objects.filter(pk=batch.pk).update(status="processing", finished_at=None)
        return delete(batch, only_finished=only_finished)

    monkeypatch.setattr(lifecycle, "delete", retry_and_delete)
    assert prune(1).requests == 1
    assert not Request.objects.filter(pk=first.pk).exists()
    assert Request.objects.get() == second


def test_a_retention_longer_than_there_are_dates_keeps_everything() -> None:
    finished(b"picture", days_ago=1000)
    assert prune(10**12) == NOTHING


# --- Deliveries ---


def test_old_tests_of_webhooks_go_unless_they_still_have_to_go_out() -> None:
    batch = finished(b"new", days_ago=29)
    endpoint = WebhookEndpoint.objects.create(owner=batch.owner, url="https://shop.example/hook")
    over = {"status": DeliveryStatus.DELIVERED, "next_attempt_at": None}
    old, young = timezone.now() - 31 * DAY, timezone.now() - 29 * DAY
    make = WebhookDelivery.objects.create
    make(endpoint=endpoint, event=Event.TEST, created_at=old, **over)
    kept = {
        make(endpoint=endpoint, event=Event.TEST, created_at=young, **over),
        make(endpoint=endpoint, event=Event.TEST, created_at=old),
        make(endpoint=endpoint, event=Event.COMPLETED, created_at=old, request=batch, **over),
    }
    prune(30)
    assert set(WebhookDelivery.objects.all()) == kept


# --- Files ---


def test_what_only_an_old_request_needed_goes_with_it_in_one_round() -> None:
    finished(b"one", b"another", days_ago=31)
    size = sum(path.stat().st_size for path in [*outputs(), *catalogues()])
    age_files()
    assert prune(30) == Pruned(requests=1, files=3, bytes=size)
    assert outputs() == catalogues() == []


def test_a_shared_file_stays_until_the_last_image_that_shows_it_goes() -> None:
    first, second = finished(b"shared", b"own", days_ago=3), finished(b"shared", days_ago=1)
    shared = second.images.get().output_key
    age_files()
    assert prune(days=2).files == 2  # `own` and the catalogue
    assert not Request.objects.filter(pk=first.pk).exists()
    assert default_storage.exists(shared)
    lifecycle.delete(second)
    assert prune(days=2).files == 2
    assert not default_storage.exists(shared)


def test_files_that_a_request_needs_stay_however_old_they_are() -> None:
    finished(b"one", b"another")
    age_files(1000 * DAY)
    assert prune(30) == NOTHING
    assert (len(outputs()), len(catalogues())) == (2, 1)


def test_young_files_stay_until_they_are_a_day_old() -> None:
    lifecycle.delete(finished(b"picture"))
    age_files(GRACE - timedelta(minutes=1))
    assert prune(30) == NOTHING
    assert (len(outputs()), len(catalogues())) == (1, 1)
    age_files(GRACE + timedelta(minutes=1))
    assert prune(30).files == 2


def test_a_file_that_is_stored_again_is_young_again() -> None:
    """A worker stores it at this moment, and has not written its row yet."""
    lifecycle.delete(finished(b"picture"))
    age_files()
    key = store(b"picture", "jpg")
    prune(30)
    assert default_storage.exists(key)


def test_a_file_that_is_stored_between_the_look_at_rows_and_that_at_the_file_stays(
    monkeypatch: MonkeyPatch,
) -> None:
    lifecycle.delete(finished(b"picture"))
    age_files()
    size_of = LocalStorage.size

    def store_again(storage: LocalStorage, name: str) -> int:
        store(b"picture", "jpg")
        return size_of(storage, name)

    monkeypatch.setattr(LocalStorage, "size", store_again)
    prune(30)
    assert len(outputs()) == 1


def test_a_file_that_an_image_comes_to_refer_to_meanwhile_stays(monkeypatch: MonkeyPatch) -> None:
    """Whatever the file's age: the rows are looked at again for each file."""
    key = finished(b"picture").images.get().output_key
    age_files()
    Image.objects.update(output_key="images/00/other.jpg")
    size_of = LocalStorage.size

    def refer(storage: LocalStorage, name: str) -> int:
        Image.objects.update(output_key=key)
        return size_of(storage, name)

    monkeypatch.setattr(LocalStorage, "size", refer)
    assert prune(30) == NOTHING
    assert default_storage.exists(key)


def test_what_a_killed_worker_left_half_written_goes() -> None:
    key = finished(b"picture").images.get().output_key
    half = Path(settings.MEDIA_ROOT, key).with_name(".tmp-half")
    half.write_bytes(b"pic")
    age_files()
    assert prune(30) == Pruned(0, files=1, bytes=3)
    assert default_storage.exists(key)


def test_files_beside_the_outputs_are_nobodys_business_here(folder: Path) -> None:
    for name in ("README", "images/index.html", "images/thumbnails/a.jpg", "logos/a.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not ours")
    age_files()
    assert prune(0) == NOTHING


@pytest.mark.needs("more time")
def test_more_files_than_are_asked_about_at_once_are_told_apart(folder: Path) -> None:
    batch = ingested(*make_urls(CHUNK_FILES))
    numbers = range(2 * CHUNK_FILES)
    (folder / "images/00").mkdir(parents=True)
    for number in numbers:
        (folder / f"images/00/{number}.jpg").touch()
    images = list(batch.images.all())
    for number, image in zip(numbers[::2], images, strict=True):
        image.status, image.output_key = Image.Status.COMPLETED, f"images/00/{number}.jpg"
    Image.objects.bulk_update(images, ["status", "output_key"])
    age_files()
    assert prune(30).files == CHUNK_FILES
    assert {path.name for path in outputs()} == {f"{number}.jpg" for number in numbers[::2]}


def test_a_file_that_another_prune_has_deleted_is_no_error(monkeypatch: MonkeyPatch) -> None:
    lifecycle.delete(finished(b"picture"))
    age_files()
    size_of = LocalStorage.size

    def delete_first(storage: LocalStorage, name: str) -> int:
        storage.delete(name)
        return size_of(storage, name)

    monkeypatch.setattr(LocalStorage, "size", delete_first)
    assert prune(30).files == 1  # the catalogue


def test_a_folder_that_another_prune_deletes_with_its_last_file_is_no_error(
    monkeypatch: MonkeyPatch,
) -> None:
    chair, lamp = store(b"chair", "jpg", "chair"), store(b"lamp", "jpg", "lamp")
    age_files()
    scan = os.scandir

    def scan_too_late(path: Any) -> Any:
        if Path(path) == Path(default_storage.path(chair)).parent:
            default_storage.delete(chair)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert prune(30).files == 1
    assert not default_storage.exists(lamp)


def test_files_are_listed_a_folder_at_a_time(monkeypatch: MonkeyPatch) -> None:
    """There may be millions of them."""
    stored = [store(f"picture {number}".encode(), "jpg") for number in range(5)]
    age_files()
    listed = list[int]()
    keys_below = LocalStorage.keys_below

    def note(storage: LocalStorage, folder: str) -> list[str]:
        listed.append(len(outputs()))
        return keys_below(storage, folder)

    monkeypatch.setattr(LocalStorage, "keys_below", note)
    assert prune(30).files == len(stored)
    assert (listed[0], listed[-1]) == (len(stored), 0)


def test_where_nothing_was_ever_stored_there_is_nothing_to_prune(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert prune(0) == NOTHING


@pytest.mark.needs("PostgreSQL")
def test_whether_an_output_is_in_use_is_answered_by_an_index() -> None:
    """For more keys than PostgreSQL compares with the index's condition one by one."""
    with CaptureQueriesContext(connection) as asked:
        Image.objects.outputs_in_use([f"images/00/{number}.jpg" for number in range(CHUNK_FILES)])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # which is faster for an empty table
        cursor.execute(f"EXPLAIN {asked[0]['sql']}")
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "image_output" in plan


# --- The command ---


def test_the_command_says_what_it_has_done(capsys: CaptureFixture[str]) -> None:
    finished(b"picture", days_ago=8)
    finished(b"another", days_ago=6)
    size = sum(path.stat().st_size for path in catalogues()) // 2 + len(b"picture")
    age_files()
    call_command("prune", "--older-than", "7")
    assert capsys.readouterr().out == f"deleted: 1 requests, 2 files of {size:,} bytes\n"


@pytest.mark.parametrize("arguments", [[], ["--older-than", "-1"], ["--older-than", "many"]])
def test_the_command_needs_a_number_of_days(arguments: list[str]) -> None:
    finished(b"picture", days_ago=1000)
    with pytest.raises(CommandError, match="older-than"):
        call_command("prune", *arguments)
    assert Request.objects.exists()


def test_a_storage_that_does_not_answer_is_said_in_a_sentence(monkeypatch: MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalStorage, "keys_below", fail)
    with pytest.raises(CommandError, match="Permission denied"):
        call_command("prune", "--older-than", "30")


# --- Once a day, by a worker ---


@pytest.fixture
def heart(pipeline: Pipeline, monkeypatch: MonkeyPatch) -> Heartbeat:
    """The heart of a worker that looks every moment whether a prune is due."""
    monkeypatch.setattr("processing.work.pipeline._current", pipeline)
    monkeypatch.setattr(worker, "PRUNE_CHECK_EVERY", timedelta(0))
    return Heartbeat(Worker(), QueueProgress(1, oldest=lambda: None))


def run_until(heart: Heartbeat, condition: Callable[[], object]) -> None:
    heart.start()
    wait_until(condition)
    heart.stop()
    wait_until(lambda: all(thread.name != "prune" for thread in threading.enumerate()))


@pytest.mark.django_db(transaction=True)
def test_workers_prune_by_themselves_where_a_retention_is_set(heart: Heartbeat, settings: Settings) -> None:
    settings.RETENTION_DAYS = 7
    finished(b"old", days_ago=8)
    new = finished(b"new", days_ago=6)
    age_files()
    run_until(heart, lambda: len(catalogues()) == 1)
    assert Request.objects.get() == new
    assert [path.read_bytes() for path in outputs()] == [b"new"]


@pytest.mark.django_db(transaction=True)
def test_without_a_retention_workers_prune_nothing(heart: Heartbeat, monkeypatch: MonkeyPatch) -> None:
    looks = []
    look = worker._prune_if_due

    def note() -> None:
        look()
        looks.append("has looked")

    monkeypatch.setattr(worker, "_prune_if_due", note)
    finished(b"picture", days_ago=1000)
    run_until(heart, lambda: looks)
    assert Request.objects.count() == 1
    assert not Maintenance.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_prune_that_breaks_off_leaves_the_worker_alone(
    heart: Heartbeat, settings: Settings, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    settings.RETENTION_DAYS = 7
    monkeypatch.setattr(worker, "prune", lambda _days: 1 / 0)
    run_until(heart, lambda: "ZeroDivisionError" in caplog.text)
    assert "Pruning failed" in caplog.text
    assert not Worker.objects.exists()  # the heart has come to its end as it should


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_claims_the_prune_of_the_day() -> None:
    assert sorted(together([Maintenance.claim_prune] * 4)) == [False, False, False, True]
    assert not Maintenance.claim_prune()
    Maintenance.objects.update(prune_due_at=timezone.now() - timedelta(seconds=1))
    assert Maintenance.claim_prune()
    assert Maintenance.objects.get().prune_due_at > timezone.now() + PRUNE_EVERY - timedelta(minutes=1)


def test_a_counter_of_recovery_claims_no_prune() -> None:
    Maintenance.count_resent(2)
    assert Maintenance.claim_prune()
    Maintenance.count_resent(3)
    assert not Maintenance.claim_prune()
    assert Maintenance.requests_resent_so_far() == 5


@pytest.mark.parametrize("set_by", [2 * DAY, -2 * DAY])
def test_a_machine_whose_clock_is_wrong_prunes_nothing_that_is_new(
    set_by: timedelta, folder: Path, monkeypatch: MonkeyPatch
) -> None:
    """Its new files have the time of that clock where it is ahead, and the right time where it is behind."""
    now = timezone.now()
    monkeypatch.setattr("processing.workers.prune.database_time", lambda: now)
    store(b"new", "jpg")
    monkeypatch.setattr("django.utils.timezone.now", lambda: now + set_by)
    assert prune(30) == NOTHING
    age_files(timedelta(0))
    assert prune(30) == NOTHING


@pytest.mark.needs("PostgreSQL")
def test_the_clock_of_the_database_is_not_that_of_the_machine(monkeypatch: MonkeyPatch) -> None:
    two_days_later = timezone.now() + 2 * DAY
    monkeypatch.setattr("django.utils.timezone.now", lambda: two_days_later)
    assert database_time() < two_days_later - DAY
