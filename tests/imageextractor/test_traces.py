"""Traces by OpenTelemetry, from the edge to the picture: what is sent, and what is not."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.imageextractor.test_settings import KEY, run
from tests.support.factories import JPEG
from tests.support.origin import Answer, Origin
from tests.support.servers import redis_database
from tests.support.stack import Cluster, Embedded, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SPAN_ATTRIBUTES = "imageextractor."

#: Loads the settings and says what of OpenTelemetry they have brought along.
LOADED = """
import django
django.setup()
import sys
from django.conf import settings
ours = "imageextractor.traces", "opentelemetry.sdk.trace", "opentelemetry.instrumentation"
print(settings.TRACES, sorted(name for name in ours if name in sys.modules))
"""

#: A query, a command and a message in a trace, and outside of one, where workers poll all the time.
COMMANDS = """
import django
django.setup()
from django.db import connection
from processing import runtime, tracing

def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["hush"])
    runtime.current.ping_broker()

ask()
with tracing.span("outer"):
    ask()
"""


class Span:
    """A span as it was received."""

    def __init__(self, message: Any) -> None:
        self.name: str = message.name
        self.id: str = message.span_id.hex()
        self.parent: str = message.parent_span_id.hex()
        self.trace: str = message.trace_id.hex()
        self.failed = message.status.code == message.status.STATUS_CODE_ERROR
        self.attributes = {
            one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in message.attributes
        }

    def id_of(self, name: str) -> Any:
        return self.attributes.get(SPAN_ATTRIBUTES + name)


class Collector:
    """A receiver of OTLP over HTTP."""

    def __init__(self, origin: Origin) -> None:
        origin.add("/v1/traces", Answer())
        self.url = origin.url("")
        self._origin = origin

    def bodies(self) -> list[bytes]:
        return [
            gzip.decompress(request.body)
            if request.headers.get("content-encoding") == "gzip"
            else request.body
            for request in list(self._origin.received)
        ]

    def spans(self) -> list[Span]:
        return [
            Span(span)
            for body in self.bodies()
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of(self, name: str) -> list[Span]:
        return [span for span in self.spans() if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Origin() as server:
        yield Collector(server)


def traced(collector: Collector) -> dict[str, str]:
    """Return the variables by which a service sends its traces."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.mark.needs("the service in a process of its own")
def test_a_trace_leads_from_the_upload_to_the_steps_of_each_picture(
    tmp_path: Path, collector: Collector, origin: Origin
) -> None:
    pictures = [origin.add("/a.jpg", JPEG) + "?signature=hush", origin.url("/missing.jpg")]
    catalogue = 'Serial Number,Product Name,Input Image Urls\n1,Lamp,"{}"\n'.format(", ".join(pictures))
    with Embedded(tmp_path, LOG_FORMAT="json", **traced(collector)) as service:
        service.serve()
        with service.client() as client:
            answer = client.post(
                "/upload?next=hush",
                files={"file": ("catalogue.csv", catalogue)},
                headers={"X-Request-ID": "edge-1", "traceparent": f"00-{TRACE}-{PARENT}-01"},
            )
            assert answer.headers["X-Request-ID"] == "edge-1"
            wait_for(lambda: len(collector.of("picture")) == 2, "both pictures are spans")
            (lane, *_) = wait_for(lambda: collector.of("work"), "the lane is a span")
            (upload,) = collector.of("POST upload")
            client.get(f"/feeds/{uuid4()}/hush/latest.csv")
            wait_for(lambda: [span for span in collector.spans() if "feeds" in span.name], "another request")
        log = service.log()

    assert (upload.trace, upload.parent) == (TRACE, PARENT)
    spans = [span for span in collector.spans() if span.trace == TRACE]
    by_id = {span.id: span for span in spans}
    messages = [span for span in spans if span.name in ("ingest", "work")]
    assert {span.name for span in messages} == {"ingest", "work"}
    assert {span.parent for span in messages} == {upload.id}
    done, failed = sorted(collector.of("picture"), key=lambda span: span.failed or span.id_of("status"))
    for picture in (done, failed):
        assert by_id[picture.parent].name == "work"
        assert picture.id_of("request_id") == answer.json()["id"]
        assert picture.id_of("lane") == lane.id_of("lane")
        assert picture.id_of("image_id")
    assert [done.id_of("status"), failed.id_of("status")] == ["completed", "failed"]
    assert failed.attributes["error.type"] == "http_404"
    steps = {span.name: span for span in spans if span.parent == done.id}
    assert set(steps) == {"fetch", "compress", "store"}
    (request,) = [span for span in spans if span.parent == steps["fetch"].id]
    assert request.attributes["http.response.status_code"] == 200
    assert [span.name for span in spans if span.parent == failed.id] == ["fetch"]
    assert {span.id_of("http_request_id") for span in spans} == {"edge-1"}
    assert "edge-1" in next(line for line in log.splitlines() if "Failed: http_404" in line)
    # Nothing secret is sent, and origins are told nothing.
    assert b"hush" not in b"".join(collector.bodies())
    assert len(origin.received) == 2
    assert not any("traceparent" in request.headers for request in origin.received)


@pytest.mark.needs("PostgreSQL and Redis")
def test_messages_carry_the_trace_through_redis(tmp_path: Path, collector: Collector, origin: Origin) -> None:
    catalogue = f"Serial Number,Product Name,Input Image Urls\n1,Lamp,{origin.add('/a.jpg', JPEG)}\n"

    def path() -> list[str]:
        """Return the names of the spans from a picture's request up to the edge, as far as they are known."""
        by_id = {span.id: span for span in collector.spans() if span.trace == TRACE}
        names, span = [], next((span for span in by_id.values() if span.name == "GET"), None)
        while span:
            names.append(span.name)
            last, span = span, by_id.get(span.parent)
        return names if names and last.parent == PARENT else []

    with Cluster(tmp_path, **traced(collector)) as cluster:
        cluster.run(workers=1)
        with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
            client.post(
                "/upload",
                files={"file": ("catalogue.csv", catalogue)},
                headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
            ).raise_for_status()
        assert wait_for(path, "all spans") == ["GET", "fetch", "picture", "work", "POST upload"]
        (work, *_) = collector.of("work")
        queries = [span for span in collector.spans() if span.parent == work.id and span.name != "picture"]
        assert queries


@pytest.mark.needs("a process of its own")
def test_without_its_variables_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    for environment in (
        {},
        endpoint | {"OTEL_SDK_DISABLED": "true"},
        endpoint | {"OTEL_TRACES_EXPORTER": "none"},
    ):
        done = run("-c", LOADED, DATA_DIR=str(tmp_path), **environment)
        assert done.stdout == "False []\n", done.stderr
    done = run("-c", LOADED, DATA_DIR=str(tmp_path), **endpoint)
    assert done.stdout.startswith("True ['imageextractor.traces'"), done.stderr


@pytest.mark.needs("a process of its own")
def test_without_the_extra_or_with_another_protocol_the_start_ends_with_a_sentence(tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "DATA_DIR": str(tmp_path)}
    done = run("manage.py", "check", **endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert done.returncode != 0
    assert "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf" in done.stderr
    (tmp_path / "opentelemetry.py").touch()  # hides the package
    done = run("manage.py", "check", **endpoint, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "needs the extra `otel`" in done.stderr


@pytest.mark.needs("PostgreSQL and Redis")
def test_queries_and_commands_are_spans_of_a_trace_only(tmp_path: Path, collector: Collector) -> None:
    done = run(
        "-c",
        COMMANDS,
        DATA_DIR=str(tmp_path),
        SECRET_KEY=KEY,
        DATABASE_URL=os.environ["DATABASE_URL"],
        REDIS_URL=redis_database(os.environ["REDIS_URL"], 1),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.returncode == 0, done.stderr
    (outer,) = collector.of("outer")
    others = [span for span in collector.spans() if span is not outer and span.id != outer.id]
    assert {span.parent for span in others} == {outer.id}
    assert {"SELECT", "PING"} <= {span.name.split()[0] for span in others}
    assert b"hush" not in b"".join(collector.bodies())
