"""A picture that has not changed since an earlier Request is neither sent nor compressed again."""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest import MonkeyPatch

from processing.compress import compress, native
from processing.http import conditions, transport
from processing.work import attempt, known_pictures
from processing.work import models as work_models
from processing.work.claim import claim
from processing.work.fetch import Version
from processing.work.known_pictures import KnownOutput, StoredOutput
from processing.work.models import KnownPicture
from processing.work.pipeline import Pipeline
from processing.workers.prune import prune
from products import lifecycle
from products.lifecycle import Outcome, PictureFacts
from products.models import Image, Request
from tests.support.batches import catalogue, ingest, ingested, make_urls
from tests.support.corpus import frames
from tests.support.factories import submit
from tests.support.origin import Answer, Handler, Origin
from tests.support.parallel import wait_until
from tests.support.pictures import photo_jpeg

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]

JPEG, OTHER_JPEG = photo_jpeg(64, 48), photo_jpeg(64, 48, seed=1)
MODIFIED = "Sun, 01 Nov 2026 10:00:00 GMT"


class Shop:
    """A route that keeps to conditions as RFC 9110 has them; `answered` are the statuses, in order."""

    def __init__(self, data: bytes, *, etag: str | None = None, modified: str | None = None) -> None:
        self.data, self.etag, self.modified = data, etag, modified
        self.answered: list[int] = []

    def __call__(self, handler: Handler) -> None:
        asked = handler.received.headers
        if "if-none-match" in asked:
            is_known = asked["if-none-match"] == self.etag
        else:
            is_known = self.modified is not None and asked.get("if-modified-since") == self.modified
        fields = {"ETag": self.etag, "Last-Modified": self.modified}
        headers = {name: value for name, value in fields.items() if value is not None}
        self.answered.append(304 if is_known else 200)
        if is_known:
            handler.answer(Answer(status=304, headers=headers))
        else:
            handler.answer(Answer(self.data, headers=headers))


def shop(data: bytes = JPEG, **validators: str | None) -> Shop:
    return Shop(data, **(validators or {"etag": f'"{hashlib.sha256(data).hexdigest()}"'}))


def work(batch: Request, pipeline: Pipeline) -> Image:
    """Make an attempt at the one Image of a Request. Return the Image as it is then."""
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 1000))
    wait_until(lambda: not pipeline._held)  # versions are written after outcomes
    batch.refresh_from_db()
    return batch.images.get()


def run(url: str, pipeline: Pipeline, **options: object) -> Image:
    """Return the Image of this URL in a new Request after one attempt."""
    return work(ingested(url, **options), pipeline)


@pytest.fixture
def compressions(monkeypatch: MonkeyPatch) -> list[bytes]:
    """The sources that have been compressed."""
    seen: list[bytes] = []

    def note(data: bytes, *arguments: object, **options: object) -> object:
        seen.append(data)
        return compress(data, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "compress_here", note)
    return seen


# --- Pictures that have not changed ---


@pytest.mark.parametrize(
    "validators",
    [{"etag": '"1"'}, {"etag": 'W/"1"'}, {"modified": MODIFIED}, {"etag": '"1"', "modified": MODIFIED}],
)
def test_what_the_origin_calls_unchanged_keeps_its_output_without_being_sent_or_decoded(
    validators: dict[str, str],
    pipeline: Pipeline,
    origin: Origin,
    compressions: list[bytes],
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_SECONDS", 60)
    route = shop(JPEG, **validators)
    url = origin.add("/lamp.jpg", route)
    first, second = run(url, pipeline), run(url, pipeline)

    assert (route.answered, compressions) == ([200, 304], [JPEG])
    run(url, pipeline)
    assert len(origin.clients) == 1
    assert (first.unchanged, second.unchanged, second.status, second.attempts) == (
        False,
        True,
        "completed",
        1,
    )
    same = [
        "output_key",
        *(f"{file}_{fact}" for file in ("source", "output") for fact in PictureFacts._fields[:4]),
        "output_quality",
    ]
    assert [getattr(second, name) for name in same] == [getattr(first, name) for name in same]
    batch = second.request
    assert (batch.status, batch.images_completed, batch.images_unchanged) == ("completed", 1, 1)
    assert (batch.bytes_source, batch.bytes_output) == (first.source_bytes, first.output_bytes)


def test_an_animation_that_is_taken_over_is_still_called_one(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.add("/spin.gif", shop(frames("GIF")))
    first, second = run(url, pipeline), run(url, pipeline)
    assert (first.animated, second.animated, second.unchanged) == (True, True, True)


@pytest.mark.needs(native.LIBRARY.name)
@pytest.mark.parametrize("with_library", [(True, False), (False, True)])
def test_workers_with_and_without_the_jpeg_library_take_over_each_others_outputs(
    with_library: tuple[bool, bool], pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    url, load, images = origin.add("/lamp.jpg", shop()), native.library, []
    for has_library in with_library:
        monkeypatch.setattr(native, "library", load if has_library else lambda: None)
        images.append(run(url, pipeline))
    forced = run(url, pipeline, force=True)
    assert [image.unchanged for image in images] == [False, True]
    assert images[0].output_key == images[1].output_key
    assert run(url, pipeline).output_key == forced.output_key != images[0].output_key


def test_the_third_request_takes_over_from_the_second(pipeline: Pipeline, origin: Origin) -> None:
    route = shop()
    url = origin.add("/lamp.jpg", route)
    first, second = run(url, pipeline), run(url, pipeline)
    lifecycle.delete(first.request)
    assert not Image.objects.filter(pk=first.pk).exists()
    third = run(url, pipeline)
    assert (route.answered, third.unchanged, third.output_key) == ([200, 304, 304], True, second.output_key)


@pytest.mark.parametrize("etag", [None, "", '"' + "x" * 300 + '"', '"ü"', "unquoted", "W/1", '"a"b"'])
def test_the_same_bytes_count_as_unchanged_where_the_origin_has_no_name_for_them_that_can_be_kept(
    etag: str | None, pipeline: Pipeline, origin: Origin, compressions: list[bytes]
) -> None:
    headers = {} if etag is None else {"ETag": etag}
    url = origin.add("/lamp.jpg", Answer(JPEG, headers=headers))
    first, second = run(url, pipeline), run(url, pipeline)
    assert (second.unchanged, second.output_key, compressions) == (True, first.output_key, [JPEG])
    assert all("if-none-match" not in request.headers for request in origin.received)


def test_an_origin_that_ignores_conditions_is_believed_by_its_bytes(
    pipeline: Pipeline, origin: Origin, compressions: list[bytes]
) -> None:
    url = origin.add("/lamp.jpg", Answer(JPEG, headers={"ETag": '"1"', "Last-Modified": MODIFIED}))
    run(url, pipeline)
    assert run(url, pipeline).unchanged
    assert origin.received[1].headers["if-none-match"] == '"1"'
    assert origin.received[1].headers["if-modified-since"] == MODIFIED
    assert compressions == [JPEG]


class Refusing:
    """A route that answers conditional requests with an error, and others with a picture while it has one."""

    def __init__(self, status: int = 412, headers: dict[str, str] | None = None) -> None:
        self.refusal = Answer(b"no", status=status, headers=headers or {})
        self.picture: Answer | None = Answer(JPEG, headers={"ETag": '"1"', "Last-Modified": MODIFIED})
        self.conditions: list[str | None] = []

    def __call__(self, handler: Handler) -> None:
        self.conditions.append(handler.received.headers.get("if-none-match"))
        is_conditional = self.conditions[-1] is not None
        handler.answer(self.refusal if is_conditional or self.picture is None else self.picture)

    def asked(self) -> list[str | None]:
        """Return the conditions of the requests since the last call."""
        conditions, self.conditions = self.conditions, []
        return conditions


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 405, 412, 416, 418, 500, 503])
def test_a_refused_condition_costs_one_request_and_then_none_for_a_day(
    status: int, pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    routes = [Refusing(status), Refusing(status)]
    urls = [origin.add(f"/{number}.jpg", route) for number, route in enumerate(routes)]
    for url in urls:
        assert run(url, pipeline).status == "completed"
    assert [route.asked() for route in routes] == [[None], [None]]

    again = run(urls[0], pipeline)
    assert (again.status, again.unchanged, again.attempts) == ("completed", True, 1)
    for url in urls:
        assert run(url, pipeline).unchanged
    assert [route.asked() for route in routes] == [['"1"', None, None], [None]]

    monkeypatch.setattr(conditions, "time", Mock(monotonic=lambda: time.monotonic() + 86_400))
    assert run(urls[1], pipeline).unchanged
    assert routes[1].asked() == ['"1"', None]


def test_a_picture_that_is_gone_is_asked_for_again_without_blaming_its_host(
    pipeline: Pipeline, origin: Origin
) -> None:
    gone, kept = Refusing(404), shop()
    urls = [origin.add("/gone.jpg", gone), origin.add("/kept.jpg", kept)]
    for url in urls:
        run(url, pipeline)
    gone.picture = None
    assert run(urls[0], pipeline).error_code == "http_404"
    assert gone.asked() == [None, '"1"', None]
    assert run(urls[1], pipeline).unchanged
    assert kept.answered == [200, 304]


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {}), (429, {"Retry-After": "5"}), (503, {"Retry-After": "5"})]
)
def test_a_host_that_asks_to_wait_is_not_asked_again_at_once(
    status: int, headers: dict[str, str], pipeline: Pipeline, origin: Origin
) -> None:
    route = Refusing(status, headers)
    url = origin.add("/lamp.jpg", route)
    run(url, pipeline)
    waiting = run(url, pipeline)
    assert (waiting.status, waiting.attempts, waiting.error_code) == ("pending", 0, f"http_{status}")
    assert route.asked() == [None, '"1"']


class Down:
    """Answers any request with an error, and counts them."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.requests = 0

    def __call__(self, handler: Handler) -> None:
        self.requests += 1
        handler.answer(Answer(b"no", status=self.status))


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_host_that_fails_gets_a_second_request_for_few_of_its_pictures(
    status: int, pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    paths = [f"/{number}.jpg" for number in range(6)]  # after ten failures the host is paused
    urls = [origin.add(path, shop()) for path in paths]
    for url in urls:
        run(url, pipeline)
    down = Down(status)
    for path in paths:
        origin.add(path, down)
    assert {run(url, pipeline).error_code for url in urls} == {f"http_{status}"}
    assert down.requests == len(urls) + conditions.MAX_REPEATS

    monkeypatch.setattr(conditions, "time", Mock(monotonic=lambda: time.monotonic() + 60))
    for url in urls[:2]:
        run(url, pipeline)
    assert down.requests == len(urls) + conditions.MAX_REPEATS + 3
    routes = [shop(), shop()]
    for path, route in zip(paths, routes, strict=False):
        origin.add(path, route)
    for url in urls[:2]:
        assert run(url, pipeline).unchanged
    assert [route.answered for route in routes] == [[200], [304]], "conditions again after a success"


def test_a_picture_that_moved_is_found_without_asking_again_and_its_host_is_not_blamed(
    pipeline: Pipeline, origin: Origin
) -> None:
    kept = shop()
    urls = [origin.add("/lamp.jpg", shop()), origin.add("/kept.jpg", kept)]
    for url in urls:
        run(url, pipeline)
    target = origin.add("/moved.jpg", JPEG)
    origin.add("/lamp.jpg", Answer(status=301, headers={"Location": target}))
    before = len(origin.received)
    assert run(urls[0], pipeline).unchanged
    assert [request.target for request in origin.received[before:]] == ["/lamp.jpg", "/moved.jpg"]
    assert run(urls[1], pipeline).unchanged
    assert kept.answered == [200, 304]


def test_conditions_go_to_the_url_that_answered_and_to_no_other(pipeline: Pipeline, origin: Origin) -> None:
    target = origin.add("/lamp-1.jpg", shop(etag='"1"'))
    url = origin.add("/lamp.jpg", Answer(status=302, headers={"Location": target}))
    assert not run(url, pipeline).unchanged
    assert run(url, pipeline).unchanged
    moved = origin.add("/lamp-2.jpg", Shop(OTHER_JPEG, etag='"1"'))  # which calls another picture the same
    origin.add("/lamp.jpg", Answer(status=302, headers={"Location": moved}))
    assert not run(url, pipeline).unchanged
    asked = [(r.target, r.headers.get("if-none-match")) for r in origin.received]
    assert asked == [
        *[("/lamp.jpg", None), ("/lamp-1.jpg", None)],
        *[("/lamp.jpg", None), ("/lamp-1.jpg", '"1"')],
        *[("/lamp.jpg", None), ("/lamp-2.jpg", None)],
    ]


# --- Pictures that have changed ---


def test_what_has_changed_is_made_anew(pipeline: Pipeline, origin: Origin, compressions: list[bytes]) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    first = run(url, pipeline)
    origin.add("/lamp.jpg", shop(OTHER_JPEG))
    second = run(url, pipeline)
    assert (second.unchanged, compressions) == (False, [JPEG, OTHER_JPEG])
    assert second.output_key != first.output_key
    assert run(url, pipeline).unchanged


def test_a_304_that_nobody_asked_for_is_an_error(pipeline: Pipeline, origin: Origin) -> None:
    image = run(origin.add("/lamp.jpg", Answer(status=304)), pipeline)
    assert (image.status, image.error_code) == ("failed", "http_304")


@pytest.mark.parametrize(
    "options", [{"quality": 60}, {"format": "webp"}, {"max_width": 32}, {"max_height": 32}, {"force": True}]
)
def test_other_options_and_force_fetch_in_full(
    options: dict[str, object], pipeline: Pipeline, origin: Origin
) -> None:
    route = shop()
    url = origin.add("/lamp.jpg", route)
    run(url, pipeline)
    assert not run(url, pipeline, **options).unchanged
    assert route.answered == [200, 200]


def test_an_origin_that_lies_is_believed_until_force(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.add("/lamp.jpg", Shop(JPEG, etag='"always"'))
    first = run(url, pipeline)
    origin.add("/lamp.jpg", Shop(OTHER_JPEG, etag='"always"'))
    assert run(url, pipeline).output_key == first.output_key
    forced = run(url, pipeline, force=True)
    assert (forced.unchanged, forced.output_key != first.output_key) == (False, True)
    assert run(url, pipeline).output_key == forced.output_key


def test_nobody_profits_from_the_pictures_of_others(pipeline: Pipeline, origin: Origin) -> None:
    route = shop()
    url = origin.add("/lamp.jpg", route)
    run(url, pipeline)
    bob = User.objects.create_user("bob")
    assert not work(ingest(submit(bob, catalogue(url))), pipeline).unchanged
    assert route.answered == [200, 200]


# --- Outputs and rows that have vanished ---


def test_an_output_that_has_vanished_is_made_again(
    pipeline: Pipeline, origin: Origin, tmp_path: Path
) -> None:
    route = shop()
    url = origin.add("/lamp.jpg", route)
    first = run(url, pipeline)
    (tmp_path / first.output_key).unlink()
    second = run(url, pipeline)
    assert (second.unchanged, route.answered) == (False, [200, 200])
    assert (tmp_path / second.output_key).exists()


@pytest.mark.parametrize(
    "change", [lifecycle.delete, lambda batch: batch.images.update(output_key="", external_url="x")]
)
def test_without_a_row_that_refers_to_the_output_the_picture_is_fetched(
    change: Callable[[Request], object], pipeline: Pipeline, origin: Origin
) -> None:
    route = shop()
    url = origin.add("/lamp.jpg", route)
    change(run(url, pipeline).request)
    assert not run(url, pipeline).unchanged
    assert route.answered == [200, 200]


def test_a_row_that_is_deleted_during_the_attempt_makes_the_picture_pending_again(
    pipeline: Pipeline, origin: Origin
) -> None:
    route = shop()
    first = run(origin.add("/lamp.jpg", route), pipeline)

    def asked(handler: Handler) -> None:
        lifecycle.delete(first.request)
        connection.close()
        route(handler)

    second = run(origin.add("/lamp.jpg", asked), pipeline)
    assert (second.status, second.unchanged, second.output_key) == ("pending", False, "")
    assert (second.source_bytes, second.attempts, second.settled_at) == (None, 1, None)
    assert second.due_at <= timezone.now()
    assert (second.request.images_completed, second.request.images_unchanged) == (0, 0)
    origin.add("/lamp.jpg", route)
    again = work(second.request, pipeline)
    assert (again.status, again.unchanged, again.output_key) == ("completed", False, first.output_key)
    assert route.answered == [200, 304, 200]


@pytest.mark.usefixtures("own_uploads")
def test_prune_deletes_known_pictures_without_an_image(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(work_models, "DELETE_ROWS", 2)
    urls = [origin.add(f"/{number}.jpg", JPEG) for number in range(5)]
    kept = run(origin.add("/kept.jpg", JPEG), pipeline)
    for url in urls:
        old = run(url, pipeline).request
        Request.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=3))
    assert KnownPicture.objects.count() == 6
    prune(2)
    assert [known.image for known in KnownPicture.objects.all()] == [kept]


def test_known_pictures_of_a_deleted_user_can_be_deleted(pipeline: Pipeline, origin: Origin) -> None:
    run(origin.add("/lamp.jpg", JPEG), pipeline)
    User.objects.all().delete()
    KnownPicture.objects.delete_orphaned()
    assert not KnownPicture.objects.exists()


# --- Statements ---


def test_known_pictures_are_written_by_one_statement_and_read_by_two(pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(8))
    images = claim(batch, pipeline.worker_id, 8)
    urls = [image.url for image in images]
    with CaptureQueriesContext(connection) as queries:
        assert known_pictures.recall(batch, urls) == {}
    assert len(queries) == 1
    source, output = PictureFacts(1000, 40, 30, "png"), PictureFacts(400, 20, 15, "jpeg")
    outcomes = [
        Outcome.completed(image.id, 1, output_key="images/00/0.jpg", source=source, output=output)
        for image in images
    ]
    assert len(lifecycle.record(batch.pk, outcomes, pipeline.worker_id)) == 8
    with CaptureQueriesContext(connection) as queries:
        known_pictures.remember((batch, image.url, image.id, Version(image.url, b"\0")) for image in images)
    assert sum("INSERT" in query["sql"] for query in queries) == 1
    with CaptureQueriesContext(connection) as queries:
        known = known_pictures.recall(batch, urls)
    assert len(queries) == 2
    assert known == {
        image.url: {
            "": KnownOutput(
                Version(image.url, b"\0"),
                StoredOutput(image.id, "images/00/0.jpg", source, output, animated=False),
            )
        }
        for image in images
    }


def test_two_images_fetched_from_one_url_are_known_as_one_picture(pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(2))
    image, corrected = claim(batch, pipeline.worker_id, 2)
    known_pictures.remember(
        (batch, image.url, pk, Version(image.url, b"\0")) for pk in (image.id, corrected.id)
    )
    assert KnownPicture.objects.get().image_id == corrected.id
