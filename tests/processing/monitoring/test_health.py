import socket
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Barrier, Event
from threading import enumerate as living_threads

import dramatiq
import pytest
import redis
from django.test import Client
from django.utils import timezone
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import DjangoAssertNumQueries, Settings

from processing import runtime
from processing.monitoring import health
from processing.monitoring.health import Check, no_worker_since
from processing.timing import DEAD_AFTER
from processing.work.claim import claim
from processing.workers.models import Worker
from products import lifecycle
from tests.support.batches import ingested, make_urls, settle, submitted
from tests.support.parallel import together, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outputs(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture(autouse=True)
def no_open_questions() -> Iterator[None]:
    """Nothing that a test asked is still under way when the next one begins."""
    yield
    wait_until(lambda: not any(thread.name.startswith("check ") for thread in living_threads()))


def dead_worker() -> Worker:
    return Worker.objects.create(seen_at=timezone.now() - DEAD_AFTER - timedelta(seconds=1))


def use_redis(port: int, monkeypatch: MonkeyPatch) -> None:
    """As if REDIS_URL named this port."""
    client = redis.Redis.from_url(f"redis://127.0.0.1:{port}/0?socket_timeout=5&socket_connect_timeout=5")
    monkeypatch.setattr(dramatiq.get_broker(), "client", client)


# --- No worker ---


@pytest.mark.parametrize("waiting", ["unread", "due", "in hand of the dead"])
def test_work_that_waits_without_a_worker_waits_since_the_last_one_was_seen(waiting: str) -> None:
    worker = dead_worker()
    batch = submitted(*make_urls(1)) if waiting == "unread" else ingested(*make_urls(1))
    if waiting == "in hand of the dead":
        assert claim(batch, worker.pk, 1)
    assert no_worker_since() == worker.seen_at


def test_work_that_waits_where_no_worker_ever_was_waits_since_something_moved_last() -> None:
    first = submitted(*make_urls(1))
    assert no_worker_since() == first.created_at
    second = ingested(*make_urls(1))
    assert no_worker_since() == second.last_progress_at


def test_while_a_worker_lives_nothing_waits_in_vain(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    submitted(*make_urls(1))
    dead_worker()
    Worker.objects.create()
    with django_assert_num_queries(1):
        assert no_worker_since() is None


def test_what_is_finished_or_put_off_does_not_wait_for_a_worker() -> None:
    settle(ingested(*make_urls(2)), {1: "timeout"})
    lifecycle.cancel(ingested(*make_urls(1)))
    lifecycle.abort_ingest(ingested(*make_urls(1)), "It cannot be read.")
    ingested(*make_urls(1)).images.update(due_at=timezone.now() + timedelta(minutes=1))
    dead_worker()
    assert no_worker_since() is None


# --- /readyz ---


def test_readyz_is_ok_when_all_answer(client: Client) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-cache" in answer["Cache-Control"]


def test_readyz_is_ok_embedded_where_there_is_no_redis(client: Client, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "current", runtime.Embedded())
    monkeypatch.setattr(dramatiq.get_broker(), "client", None, raising=False)
    assert client.get("/readyz").json() == {"status": "ok"}


def test_readyz_tells_when_work_waits_and_no_worker_lives(client: Client) -> None:
    submitted(*make_urls(1))
    worker = Worker.objects.create()
    assert client.get("/readyz").status_code == 200
    Worker.objects.update(seen_at=(seen_at := worker.seen_at - DEAD_AFTER))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    sentence = f"No worker seen since {seen_at:%Y-%m-%d %H:%M:%S} UTC."
    assert answer.json() == {"status": "unavailable", "workers": sentence}


@pytest.mark.needs("Redis")
def test_readyz_names_a_redis_whose_port_is_closed(client: Client, monkeypatch: MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    use_redis(port, monkeypatch)
    answer = client.get("/readyz")
    assert (answer.status_code, list(answer.json())) == (503, ["status", "broker"])


@pytest.mark.needs("Redis")
def test_readyz_does_not_wait_for_a_redis_that_is_silent(client: Client, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        use_redis(server.getsockname()[1], monkeypatch)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "broker": "No answer within 2 s."}
        assert any(thread.name == "check broker" for thread in living_threads()), "it is still silent"


def test_readyz_names_a_folder_for_pictures_that_cannot_be_made(client: Client, outputs: Path) -> None:
    outputs.write_text("a file in its place")
    answer = client.get("/readyz")
    assert (answer.status_code, list(answer.json())) == (503, ["status", "storage"])


def test_readyz_tells_outsiders_nothing_that_an_error_says(
    client: Client, outputs: Path, caplog: LogCaptureFixture
) -> None:
    outputs.write_text("a file in its place")
    assert str(outputs) not in client.get("/readyz").content.decode()
    assert str(outputs) in caplog.text


def test_however_many_ask_one_question_is_open_at_a_time() -> None:
    asked: list[str] = []
    answer = Event()

    def ask() -> dict[str, str]:
        asked.append("")
        answer.wait(60)
        return {"silent": f"It was asked {len(asked)} times."}

    check = Check("silent", ask)
    first, *others = together([check.start] * 4)
    assert others == [first] * 3
    answer.set()
    assert first.result(60) == {"silent": "It was asked 1 times."}
    assert check.start().result(60) == {"silent": "It was asked 2 times."}


def test_an_answer_is_given_again_for_a_while(monkeypatch: MonkeyPatch) -> None:
    questions = count(1)
    check = Check("quick", lambda: {"quick": f"Question {next(questions)}"})
    monkeypatch.setattr(health, "CACHE_SECONDS", 60)
    assert [check.start().result(60) for _ in range(3)] == [{"quick": "Question 1"}] * 3
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    assert check.start().result(60) == {"quick": "Question 2"}


def test_all_are_asked_at_once(monkeypatch: MonkeyPatch) -> None:
    """Each answers only when the others have been asked, too."""
    barrier = Barrier(3)

    def meet() -> dict[str, str]:
        barrier.wait(100)
        return {}

    monkeypatch.setattr(health, "CHECKS", [Check(str(number), meet) for number in range(3)])
    assert health.problems() == {}
