import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from django.conf import settings as project
from django.test import Client
from pytest import LogCaptureFixture

from processing import logs
from processing.logs import JsonFormatter, MessageMiddleware, TextFormatter, about
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from processing.work.tasks import work
from products import lifecycle
from tests.support.batches import Gate, ingested, make_urls
from tests.support.factories import address_of, client_of, make_user
from tests.support.parallel import wait_until


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return the JSON lines of the root logger."""
    handler = logging.StreamHandler(text := io.StringIO())
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


def read(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_what_it_is_about(lines: io.StringIO) -> None:
    with about(request_id="a"), about(image_id="b", lane=None):
        logging.getLogger("shop").warning("“Half” a\nfile: %s", 1)
    logging.getLogger("shop").warning("later")
    first, second = read(lines)
    assert first["message"] == "“Half” a\nfile: 1"
    assert (first["level"], first["logger"]) == ("WARNING", "shop")
    assert (first["request_id"], first["image_id"]) == ("a", "b")
    assert not {"request_id", "image_id", "lane"} & second.keys()


def test_a_traceback_is_part_of_its_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("spilt")
    except ValueError:
        logging.getLogger("shop").exception("An accident")
    (line,) = read(lines)
    assert line["exception"].endswith("ValueError: spilt")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/feeds/1/hush/latest.csv", "/feeds/1/…/latest.csv"),
        ("/share/1/hush/images.zip", "/share/1/…/images.zip"),
    ],
)
def test_the_secret_of_an_address_is_in_no_line(lines: io.StringIO, path: str, shown: str) -> None:
    with about(path=path):
        logging.getLogger("shop").warning("GET %s", path)
        record = logging.LogRecord("shop", logging.INFO, "", 1, "GET %s", (path,), None)
        text = TextFormatter("%(message)s").format(record)
    assert text == f"GET {shown} [path={shown}]"
    assert "hush" not in lines.getvalue() and shown in lines.getvalue()


def test_as_text_the_ids_follow_the_message() -> None:
    formatter = TextFormatter("%(levelname)s %(message)s")
    record = logging.makeLogRecord({"msg": "Done", "levelname": "INFO"})
    assert formatter.format(record) == "INFO Done"
    with about(request_id="a", image_id="b"):
        assert formatter.format(record) == "INFO Done [request_id=a image_id=b]"


@pytest.mark.django_db
def test_as_text_a_path_cannot_forge_a_line(client: Client) -> None:
    handler = logging.StreamHandler(text := io.StringIO())
    handler.setFormatter(TextFormatter("%(levelname)s %(name)s: %(message)s"))
    logs.access.addHandler(handler)
    client.get("/status/x%0aINFO access: POST /login%1b[2J%e2%80%a8")
    logs.access.removeHandler(handler)
    (line,) = text.getvalue().splitlines()
    assert line.startswith(r"INFO access: GET /status/x\nINFO access: POST /login\x1b[2J\u2028 [")
    assert line.isprintable()


def test_a_message_is_about_its_arguments_by_their_names_and_a_lane_is_the_same_in_all_slices() -> None:
    middleware, broker = MessageMiddleware(), dramatiq.get_broker()
    first = work.message("a-request", 3)
    middleware.before_process_message(broker, first)
    assert logs.subject() == {
        "actor": "work",
        "lane": first.message_id,
        "request_id": "a-request",
        "epoch": "3",
    }
    second = work.message_with_options(args=("a-request", 3), lane=logs.subject()["lane"])
    middleware.after_process_message(broker, first)
    assert logs.subject() == {}
    middleware.before_process_message(broker, second)
    assert logs.subject()["lane"] == first.message_id
    middleware.after_process_message(broker, second)


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_fails_is_logged_with_its_request_lane_and_id(
    pipeline: Pipeline, lines: io.StringIO, gate: Gate
) -> None:
    from products.models import Image

    batch = ingested("http://127.0.0.1:1/a.jpg")
    Image.objects.update(attempts=4)
    with about(lane="a-lane"):
        pipeline.submit(batch, claim(batch, pipeline.worker_id, 1))
    wait_until(lambda: "Failed" in lines.getvalue())
    line = next(line for line in read(lines) if line["message"].startswith("Failed"))
    image = batch.images.get()
    assert (line["request_id"], line["lane"], line["image_id"]) == (str(batch.pk), "a-lane", str(image.pk))


@pytest.mark.django_db
def test_each_http_request_is_a_line_about_what_its_path_names(lines: io.StringIO) -> None:
    batch = ingested(*make_urls(1))
    client = client_of(make_user("staff", is_staff=True))
    client.get(address_of(batch))
    client.get("/status/" + str(batch.pk))
    client.get("/")
    api, status, home = (line for line in read(lines) if line["logger"] == "access")
    assert api["request_id"] == status["request_id"] == str(batch.pk)
    assert (api["method"], api["path"], api["status"]) == ("GET", address_of(batch), "200")
    assert int(api["ms"]) >= 0
    assert "request_id" not in home


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-ID": "edge-1"}, "edge-1"),
        ({"X-Request-ID": "edge-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, "edge-1"),
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"X-Request-ID": "a b\tc"}, "[0-9a-f]{32}"),
        ({"X-Request-ID": "x" * 129, "traceparent": "00-zz-01"}, "[0-9a-f]{32}"),
        ({}, "[0-9a-f]{32}"),
    ],
)
def test_the_id_of_an_http_request_is_that_of_the_proxy_or_a_new_one(
    client: Client, lines: io.StringIO, headers: dict[str, str], expected: str
) -> None:
    response = client.get("/login/", headers=headers)
    (line,) = (line for line in read(lines) if line["logger"] == "access")
    assert line["http_request_id"] == response["X-Request-ID"]
    assert re.fullmatch(expected, response["X-Request-ID"])


def test_the_id_of_an_http_request_goes_with_its_messages_and_those_that_they_send() -> None:
    middleware, broker = MessageMiddleware(), dramatiq.get_broker()
    first, second, other = (work.message("a-request", number) for number in range(3))
    with about(http_request_id="edge-1"):
        middleware.before_enqueue(broker, first, None)
    middleware.before_process_message(broker, first)
    assert logs.subject()["http_request_id"] == "edge-1"
    middleware.before_enqueue(broker, second, 1000)
    middleware.after_process_message(broker, first)
    middleware.before_process_message(broker, second)
    assert logs.subject()["http_request_id"] == "edge-1"
    middleware.after_process_message(broker, second)
    middleware.before_enqueue(broker, other, None)
    assert "http_request_id" not in other.options


@pytest.mark.django_db
def test_what_machines_ask_every_few_seconds_is_no_line(client: Client, lines: io.StringIO) -> None:
    client.get("/healthz")
    assert [line for line in read(lines) if line["logger"] == "access"] == []


@pytest.mark.django_db
def test_a_request_is_logged_when_it_is_submitted_and_when_it_has_finished(caplog: LogCaptureFixture) -> None:
    caplog.set_level("INFO", "processing.work.receivers")
    batch = ingested(*make_urls(2))
    lifecycle.cancel(batch)
    messages = [
        record.getMessage() for record in caplog.records if record.name == "processing.work.receivers"
    ]
    assert messages[0].startswith("Run 1 is pending: ")
    assert messages[-1].startswith("Run 1 is canceled: ")


def test_the_console_has_the_format_that_was_asked_for() -> None:
    assert project.LOG_FORMAT == "text"
    assert project.LOGGING["handlers"]["console"]["formatter"] == "text"
