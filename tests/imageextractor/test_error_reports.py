"""Errors reported to Sentry: what is sent, and what is not."""

import gzip
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from imageextractor import __version__, error_reports
from tests.imageextractor.test_settings import run

#: A failing view, and an error that is logged about a picture.
FAIL = """
import django
django.setup()
import logging, sentry_sdk
from django.test import Client
from processing.logs import about
from products.accounts import pages

def broken(*args, **kwargs):
    password = "hush-local"
    raise ValueError("broken")

with about(image_id="643cf42d"):
    try:
        broken()
    except ValueError:
        logging.getLogger("processing.work").exception("A picture failed")
client = Client(raise_request_exception=False, headers={"host": "localhost"})
pages.LoginForm.__init__ = broken
client.post("/login/?next=hush-query", {"password": "hush-body"}, headers={"Cookie": "a=hush-cookie"})
sentry_sdk.flush(60)
"""


@pytest.fixture
def received() -> Iterator[tuple[str, list[bytes]]]:
    """The DSN of a server, and the envelopes that it has received."""
    envelopes: list[bytes] = []

    class Sentry(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_gzipped = self.headers.get("Content-Encoding") == "gzip"
            envelopes.append(gzip.decompress(body) if is_gzipped else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_arguments: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Sentry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://key@127.0.0.1:{server.server_port}/1", envelopes
        server.shutdown()


@pytest.mark.needs("a process of its own")
def test_errors_are_reported_with_their_ids_and_without_data_of_users(
    tmp_path: Path, received: tuple[str, list[bytes]]
) -> None:
    dsn, envelopes = received
    done = run("-c", FAIL, SENTRY_DSN=dsn, DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    logged, of_view = [
        event
        for envelope in envelopes
        for line in envelope.splitlines()
        if "exception" in (event := json.loads(line))
    ]
    assert logged["tags"]["image_id"] == "643cf42d"
    assert logged["release"] == f"imageextractor@{__version__}"
    assert of_view["transaction"] == "/login/"
    assert [event["exception"]["values"][0]["value"] for event in (logged, of_view)] == ["broken", "broken"]
    assert b"hush" not in b"".join(envelopes)


def test_a_malformed_dsn_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN must be the DSN of a project"):
        error_reports.start("sentry.example.com")


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(ImproperlyConfigured, match="pip install sentry-sdk"):
        error_reports.start("https://key@sentry.example.com/1")
