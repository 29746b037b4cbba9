import logging
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.utils import timezone
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from processing.compress import compress
from processing.hosts.models import PausedHost
from processing.hosts.rate_limit import PAUSE_SECONDS, Pause, RateLimiter
from processing.storage.outputs import LocalStorage
from processing.timing import RETRY_DELAYS_SECONDS, STORAGE_RETRY_SECONDS
from processing.work import attempt, flush, known_pictures, slots
from processing.work import pipeline as pipelines
from processing.work.attempt import PATIENCE
from processing.work.claim import claim, release
from processing.work.models import KnownPicture
from processing.work.pipeline import Pipeline
from products import lifecycle
from products.models import Image, Request
from products.models.image import ImageQuerySet
from tests.support import rare_pictures
from tests.support.batches import JPEG, Gate, completed, held, ingested
from tests.support.corpus import WHOLE, frames
from tests.support.origin import Answer, Origin
from tests.support.parallel import wait_until
from tests.support.pictures import decoded, photo_jpeg, rgba_png, truncated

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]


class FullDisk(LocalStorage):
    def _save(self, name: str, content: object) -> str:
        raise OSError(28, "No space left on device")


def start(batch: Request, pipeline: Pipeline) -> None:
    """Claim all due Images of a Request and submit them."""
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 1000))


def work(batch: Request, pipeline: Pipeline) -> Request:
    """Make one attempt at each due Image. Return the Request as it is then."""
    start(batch, pipeline)
    wait_until(lambda: not held())
    batch.refresh_from_db()
    return batch


def the_image(pipeline: Pipeline, url: str) -> Image:
    """Return the Image of this URL after one attempt."""
    return work(ingested(url), pipeline).images.get()


def seconds_to_wait(image: Image) -> float:
    return (image.due_at - timezone.now()).total_seconds()


# --- When outcomes are written ---


@pytest.fixture
def endless_flush(pipeline: Pipeline, monkeypatch: MonkeyPatch) -> Iterator[None]:
    """Outcomes are not written because time has passed. Ends before the pipeline, which waits for them."""
    with monkeypatch.context() as patch:
        patch.setattr(flush, "FLUSH_SECONDS", 1e6)
        yield


@pytest.mark.usefixtures("endless_flush")
def test_a_request_that_has_nothing_more_in_hand_is_written_at_once(
    pipeline: Pipeline, origin: Origin, gate: Gate
) -> None:
    """Whatever other requests have in hand."""
    slow, quick = ingested(origin.add("/slow.jpg", gate)), ingested(origin.add("/quick.jpg", JPEG))
    start(slow, pipeline)
    wait_until(lambda: gate.waiting)
    start(quick, pipeline)
    wait_until(lambda: completed(quick))
    assert completed(slow) == 0
    gate.open()
    wait_until(lambda: completed(slow))


@pytest.mark.usefixtures("endless_flush")
def test_outcomes_of_a_request_that_goes_on_are_collected(
    pipeline: Pipeline, origin: Origin, gate: Gate
) -> None:
    batch = ingested(origin.add("/slow.jpg", gate), origin.add("/quick.jpg", JPEG))
    start(batch, pipeline)
    wait_until(lambda: pipeline._flusher._made and gate.waiting)
    assert completed(batch) == 0
    gate.open()
    wait_until(lambda: completed(batch) == 2)


# --- One picture ---


def test_a_picture_is_fetched_compressed_stored_and_recorded(
    pipeline: Pipeline, origin: Origin, tmp_path: Path
) -> None:
    data = rgba_png(200, 100)
    batch = work(ingested(origin.add("/chair.png", data)), pipeline)

    assert (batch.status, batch.images_completed) == (Request.Status.COMPLETED, 1)
    image = batch.images.get()
    assert (image.status, image.attempts, image.claimed_by) == ("completed", 1, None)
    assert (image.source_bytes, image.source_format) == (len(data), "png")
    output = (tmp_path / image.output_key).read_bytes()
    assert image.output_bytes == len(output) == batch.bytes_output
    assert decoded(output).size == (image.output_width, image.output_height) == (200, 100)
    assert (decoded(output).format, image.output_format) == ("JPEG", "jpeg")


def test_the_first_frame_of_an_animation_is_called_so(pipeline: Pipeline, origin: Origin) -> None:
    batch = ingested(origin.add("/spin.gif", frames("GIF")), origin.add("/still.jpg", photo_jpeg(96, 64)))
    work(batch, pipeline)
    animated = batch.images.order_by("number").values_list("source_format", "output_format", "animated")
    assert list(animated) == [("gif", "jpeg", True), ("jpeg", "jpeg", False)]


def test_a_picture_of_a_rare_kind_is_made_in_a_child(pipeline: Pipeline, origin: Origin) -> None:
    document = rare_pictures.photoshop(WHOLE, 3)
    image = work(ingested(origin.add("/chair.psd", document)), pipeline).images.get()
    assert (image.status, image.source_format, image.output_format) == ("completed", "psd", "jpeg")


def test_the_options_of_the_request_are_kept_to(pipeline: Pipeline, origin: Origin, tmp_path: Path) -> None:
    batch = ingested(origin.add("/chair.jpg", photo_jpeg(200, 100)), format="webp", max_width=50, quality=20)
    image = work(batch, pipeline).images.get()
    output = decoded((tmp_path / image.output_key).read_bytes())
    assert (output.format, output.size) == ("WEBP", (50, 25))


def test_an_answer_that_will_not_change_fails_the_image_at_once(pipeline: Pipeline, origin: Origin) -> None:
    image = the_image(pipeline, origin.url("/gone.jpg"))
    assert (image.status, image.error_code, image.attempts) == ("failed", "http_404", 1)
    assert "404 Not Found" in image.error_detail


def test_what_is_no_whole_picture_fails_at_once(pipeline: Pipeline, origin: Origin) -> None:
    page = the_image(pipeline, origin.add("/page.jpg", b"<!doctype html><p>Hello"))
    assert (page.status, page.error_code, page.attempts) == ("failed", "not_an_image", 1)
    half = the_image(pipeline, origin.add("/half.png", truncated(rgba_png())))
    assert (half.status, half.error_code) == ("failed", "corrupt_image")


@pytest.mark.parametrize(("earlier", "delay"), list(enumerate(RETRY_DELAYS_SECONDS)))
def test_an_attempt_that_fails_for_a_while_is_repeated_later(
    earlier: int, delay: float, pipeline: Pipeline, origin: Origin
) -> None:
    batch = ingested(origin.add("/busy.jpg", Answer(status=503)))
    batch.images.update(attempts=earlier)
    image = work(batch, pipeline).images.get()
    assert (image.status, image.error_code, image.attempts) == ("pending", "http_503", earlier + 1)
    assert seconds_to_wait(image) <= 1.2 * delay
    assert (image.due_at - image.request.created_at).total_seconds() >= 0.8 * delay
    assert batch.status == Request.Status.PROCESSING


def test_the_fifth_attempt_that_fails_is_the_last(pipeline: Pipeline, origin: Origin) -> None:
    batch = ingested(origin.add("/busy.jpg", Answer(status=503)))
    batch.images.update(attempts=4)
    image = work(batch, pipeline).images.get()
    assert (image.status, image.error_code, image.attempts) == ("failed", "http_503", 5)
    assert batch.status == Request.Status.FAILED


@pytest.mark.parametrize(
    ("status", "headers", "delay"),
    [(429, {"Retry-After": "40"}, 40), (503, {"Retry-After": "70"}, 70), (429, {}, RETRY_DELAYS_SECONDS[-1])],
)
def test_waiting_as_the_origin_asks_costs_no_attempt(
    status: int, headers: dict[str, str], delay: float, pipeline: Pipeline, origin: Origin
) -> None:
    image = the_image(pipeline, origin.add("/slowly.jpg", Answer(status=status, headers=headers)))
    assert (image.status, image.error_code, image.attempts) == ("pending", f"http_{status}", 0)
    assert seconds_to_wait(image) <= delay <= (image.due_at - image.request.created_at).total_seconds()


def test_waiting_without_an_attempt_ends_a_day_after_the_last_progress(
    pipeline: Pipeline, origin: Origin
) -> None:
    batch = ingested(origin.add("/slowly.jpg", Answer(status=429)))
    batch.started_at = batch.last_progress_at = timezone.now() - PATIENCE - timedelta(seconds=1)
    image = work(batch, pipeline).images.get()
    assert (image.status, image.error_code) == ("failed", "http_429")


def test_a_host_that_asks_to_wait_is_waited_for_while_other_pictures_are_completed(
    pipeline: Pipeline, origin: Origin
) -> None:
    batch = ingested(origin.add("/slowly.jpg", Answer(status=429)))
    batch.started_at = timezone.now() - 2 * PATIENCE
    batch.last_progress_at = timezone.now() - PATIENCE / 2
    image = work(batch, pipeline).images.get()
    assert (image.status, image.attempts) == ("pending", 0)


@pytest.mark.parametrize(("code", "is_given_up"), [("http_429", True), ("connect", False)])
def test_after_a_day_pictures_of_a_host_that_asks_to_wait_fail_without_a_request(
    code: str, *, is_given_up: bool, pipeline: Pipeline, origin: Origin
) -> None:
    batch = ingested(origin.add("/lamp.jpg", JPEG))
    batch.started_at = batch.last_progress_at = timezone.now() - 2 * PATIENCE
    host = batch.images.get().host
    pipeline.rate_limiter.learn([Pause(host, time.time() + 1000, 1, code)])
    with pipeline.claiming(batch, 60) as (_, busy):
        assert (host in busy) is not is_given_up
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 1))
    wait_until(lambda: not held())
    image = batch.images.get()
    assert (image.status, image.error_code) == (("failed", code) if is_given_up else ("pending", ""))
    assert origin.received == []


def test_pauses_of_hosts_are_known_to_all_workers_and_the_longest_counts(pipeline: Pipeline) -> None:
    now = time.time()
    pipeline.rate_limiter.refused("shop.example", 50, "http_429")
    pipeline.share_pauses()
    PausedHost.objects.tell([Pause("shop.example", now + 1, 1, "connect")])
    elsewhere = RateLimiter()
    elsewhere.learn(PausedHost.objects.pauses())
    assert elsewhere.paused()["shop.example"].until == pytest.approx(now + 50, abs=5)


def test_one_url_that_asks_for_a_day_delays_no_other_of_its_host(pipeline: Pipeline, origin: Origin) -> None:
    for_a_day = Answer(status=429, headers={"Retry-After": "86400"})
    refused = the_image(pipeline, origin.add("/refused.jpg", for_a_day))
    assert (refused.status, refused.error_code) == ("pending", "http_429")
    assert seconds_to_wait(refused) > 86_000
    assert pipeline.rate_limiter.ready_in(refused.host) <= PAUSE_SECONDS[0]
    batch = ingested(origin.add("/lamp.jpg", JPEG))
    wait_until(lambda: work(batch, pipeline).images_completed == 1)


def test_what_a_redirect_leads_to_is_not_the_fault_of_the_host_that_was_asked(
    pipeline: Pipeline, origin: Origin
) -> None:
    with Origin(host="127.0.0.2") as other:
        away = {"Location": other.add("/lamp.jpg", Answer(status=503, headers={"Retry-After": "3600"}))}
        image = the_image(pipeline, origin.add("/lamp.jpg", Answer(status=302, headers=away)))
    assert (image.status, image.error_code) == ("pending", "http_503")
    assert pipeline.rate_limiter.paused() == {}


def test_a_picture_whose_version_cannot_be_stored_is_completed(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    def refuse(pictures: object) -> None:
        raise DatabaseError("no room")

    monkeypatch.setattr(known_pictures, "remember", refuse)
    batch = work(ingested(origin.add("/lamp.jpg", JPEG)), pipeline)
    assert batch.status == Request.Status.COMPLETED
    wait_until(lambda: not pipeline._held)
    assert "The versions of 1 pictures" in caplog.text
    assert "no room" in caplog.text
    assert not KnownPicture.objects.exists()


def test_a_picture_that_is_claimed_again_while_it_is_worked_on_is_recorded_once(
    pipeline: Pipeline, origin: Origin, gate: Gate, caplog: LogCaptureFixture
) -> None:
    """As when another worker took this one for dead and released the picture."""
    batch = ingested(origin.add("/lamp.jpg", gate))
    start(batch, pipeline)
    batch.images.update(claimed_by=None)
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 2)
    gate.open()
    wait_until(lambda: not pipeline._held)
    batch.refresh_from_db()
    assert (batch.status, batch.images_completed) == (Request.Status.COMPLETED, 1)
    assert KnownPicture.objects.get().image == batch.images.get()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_storage_that_is_full_costs_no_attempt(
    pipeline: Pipeline, origin: Origin, settings: Settings, caplog: LogCaptureFixture
) -> None:
    batch = ingested(origin.add("/chair.jpg", JPEG))
    storages = settings.STORAGES
    settings.STORAGES = storages | {"default": {"BACKEND": f"{__name__}.FullDisk"}}
    image = work(batch, pipeline).images.get()
    assert (image.status, image.error_code, image.attempts) == ("pending", "storage", 0)
    assert 0 < seconds_to_wait(image) <= STORAGE_RETRY_SECONDS
    assert "No space left on device" in caplog.text

    settings.STORAGES = storages
    batch.images.update(due_at=timezone.now())
    assert work(batch, pipeline).status == Request.Status.COMPLETED


def test_an_unexpected_error_costs_its_picture_an_attempt_and_others_nothing(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    strange = photo_jpeg(20, 20)

    def stumble(data: bytes, *args: object, **options: object) -> object:
        return 1 / 0 if data == strange else compress(data, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "compress_here", stumble)
    urls = [origin.add(f"/{number}.jpg", JPEG) for number in range(20)]
    batch = work(ingested(origin.add("/strange.jpg", strange), *urls), pipeline)

    assert completed(batch) == 20
    image = batch.images.get(number=1)
    assert (image.status, image.error_code, image.attempts) == ("pending", "crashed", 1)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(image.pk) in record.getMessage()
    assert "strange.jpg" not in record.getMessage()
    assert "ZeroDivisionError" in caplog.text


# --- Many pictures ---


def test_a_host_gets_no_more_requests_at_once_than_its_limit_while_others_go_on(
    pipeline: Pipeline, origin: Origin, gate: Gate
) -> None:
    slow = [origin.add(f"/slow/{number}.jpg", gate) for number in range(12)]
    with Origin() as other:
        quick = [other.add(f"/{number}.jpg", JPEG) for number in range(12)]
        batch = ingested(*slow, *quick)
        start(batch, pipeline)
        wait_until(lambda: completed(batch) == 12 and gate.waiting == 4)
        assert held() == 12
        gate.open()
        wait_until(lambda: completed(batch) == 24)
    assert gate.most_waiting == 4


def test_pictures_that_stall_hold_up_no_others_of_their_host(
    pipeline: Pipeline, origin: Origin, gate: Gate
) -> None:
    stalling = set(range(5, 40, 10))
    urls = [origin.add(f"/{n}.jpg", gate if n in stalling else JPEG) for n in range(40)]
    pipeline.slots.per_host = 6
    batch = ingested(*urls)
    start(batch, pipeline)

    wait_until(lambda: completed(batch) == 36)
    batch.refresh_from_db()
    assert (batch.images_completed, batch.images_pending, held()) == (36, 4, 4)
    gate.open()
    wait_until(lambda: completed(batch) == 40)


def test_pictures_of_several_requests_are_recorded_with_their_own(pipeline: Pipeline, origin: Origin) -> None:
    good, bad = ingested(origin.add("/good.jpg", JPEG)), ingested(origin.url("/bad.jpg"))
    start(good, pipeline)
    start(bad, pipeline)
    wait_until(lambda: not Request.objects.active().exists())
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.status, bad.status) == (Request.Status.COMPLETED, Request.Status.FAILED)


def test_a_request_that_is_deleted_meanwhile_does_not_keep_others_from_being_recorded(
    pipeline: Pipeline, origin: Origin, gate: Gate
) -> None:
    deleted, kept = ingested(origin.add("/1.jpg", gate)), ingested(origin.add("/2.jpg", gate))
    start(deleted, pipeline)
    start(kept, pipeline)
    wait_until(lambda: gate.waiting == 2)
    lifecycle.delete(deleted)
    gate.open()
    wait_until(lambda: completed(kept) == 1)
    assert list(Request.objects.all()) == [kept]


@pytest.mark.needs("PostgreSQL")
def test_outcomes_wait_for_a_database_that_breaks_off(
    pipeline: Pipeline, origin: Origin, caplog: LogCaptureFixture
) -> None:
    batch = ingested(origin.add("/chair.jpg", JPEG))
    images = claim(batch, pipeline.worker_id, 10)
    with transaction.atomic():
        Request.objects.locked().get(pk=batch.pk)
        pipeline.submit(batch, images)
        wait_until(lambda: hang_up(waiting_for_lock=True))
        wait_until(lambda: "wait for the database" in caplog.text)
    wait_until(lambda: completed(batch) == 1)
    batch.refresh_from_db()
    assert (batch.status, origin.count("/chair.jpg")) == (Request.Status.COMPLETED, 1)


@pytest.mark.needs("PostgreSQL")
def test_a_connection_that_broke_while_nothing_was_to_write_costs_nothing(
    pipeline: Pipeline, origin: Origin, caplog: LogCaptureFixture
) -> None:
    first, second = (ingested(origin.add(f"/{number}.jpg", JPEG)) for number in range(2))
    work(first, pipeline)
    wait_until(lambda: hang_up(waiting_for_lock=False))
    assert work(second, pipeline).status == Request.Status.COMPLETED
    assert "wait for the database" not in caplog.text


def hang_up(*, waiting_for_lock: bool) -> bool:
    """Break the connections of other threads that wait for a lock, or for something else; whether any did."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the same all the time
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND (wait_event_type = 'Lock') = %s",
            [waiting_for_lock],
        )
        return bool(cursor.fetchall())


# --- Slots that are all taken ---


def test_images_that_wait_behind_a_stalled_host_are_released_unchanged(
    pipeline: Pipeline, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(10)])
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 4)
    pipeline.give_back_idle()
    assert held() == 10

    monkeypatch.setattr(slots, "STALLED_SECONDS", 0)
    pipeline.give_back_idle()
    assert held() == 4
    released = batch.images.filter(claimed_by=None).values_list("status", "attempts", "crashes")
    assert list(released) == [("pending", 0, 0)] * 6
    gate.open()
    wait_until(lambda: completed(batch) == 4)


def test_images_that_cannot_be_released_stay_held(
    pipeline: Pipeline, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OperationalError

    monkeypatch.setattr(slots, "STALLED_SECONDS", 0)
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(10)])
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 4)
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(pipelines, "release", fail)
        pipeline.give_back_idle()
    gate.open()
    wait_until(lambda: completed(batch) == 10)


# --- The end ---


def test_at_the_end_pictures_in_work_are_finished_and_others_given_back_untouched(
    origin: Origin, gate: Gate
) -> None:
    pipeline = Pipeline(uuid.uuid4())
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(10)])
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 4)
    pipeline.stop()
    gate.open()
    pipeline.close(20)

    assert completed(batch) == 4
    rest = batch.images.pending().values_list("claimed_by", "attempts", "crashes", "error_code")
    assert list(rest) == [(None, 0, 0, "")] * 6
    assert len(origin.received) == 4
    batch.refresh_from_db()
    assert (batch.images_completed, batch.images_pending) == (4, 6)


def test_a_pipeline_without_work_closes_at_once(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "FLUSH_SECONDS", 1000)  # longer than a test may take
    Pipeline(uuid.uuid4()).close(2000)


def test_at_the_end_what_takes_too_long_is_given_back_untouched(origin: Origin, gate: Gate) -> None:
    pipeline = Pipeline(uuid.uuid4())
    batch = ingested(origin.add("/stalling.jpg", gate), origin.add("/quick.jpg", JPEG))
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 1 and (pipeline._flusher._made or completed(batch)))
    pipeline.close(2)
    assert completed(batch) == 1
    image = batch.images.pending().get()
    assert (image.claimed_by, image.attempts, image.crashes) == (None, 0, 0)


def test_at_the_end_pictures_in_work_are_finished_though_others_cannot_be_given_back_yet(
    origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    pipeline = Pipeline(uuid.uuid4())
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(10)])
    start(batch, pipeline)
    wait_until(lambda: gate.waiting == 4)

    def release_at_the_end(images: ImageQuerySet, *, crashed: bool) -> int:
        if not pipeline._flusher._closed:
            raise OperationalError
        return release(images, crashed=crashed)

    monkeypatch.setattr(pipelines, "release", release_at_the_end)
    with pytest.raises(OperationalError):
        pipeline.stop()
    gate.open()
    pipeline.close(20)
    assert completed(batch) == 4
    rest = batch.images.pending().values_list("claimed_by", "attempts", "crashes", "error_code")
    assert list(rest) == [(None, 0, 0, "")] * 6


def test_a_process_that_is_no_worker_has_no_pipeline(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_current", None)
    with pytest.raises(RuntimeError, match="no worker"):
        pipelines.current()
