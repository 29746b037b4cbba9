"""Whatever is sent to the API, and reported by external workers: no answer is a server error."""

import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from hypothesis import strategies as st

from tests.support.effort import fuzz
from tests.support.factories import client_of, submit
from tests.support.receivers import signed

pytestmark = pytest.mark.django_db

SECRET = "whsec_" + "A" * 43 + "="
NAMES = [
    "url",
    "events",
    "description",
    "enabled",
    "code",
    "host",
    "status",
    "id",
    "product_id",
    "output_urls",
]
PATHS = ["/api/webhooks/", "/api/requests/", "/api/requests/preview/", "/api/requests/{}/retry/", "/upload"]

texts = st.text(st.characters(), max_size=20) | st.sampled_from(["https://a.example/", "completed", "\0"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
bodies: st.SearchStrategy[Any] = st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=5) | values
encoded = bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=50)


def ann() -> User:
    return User.objects.get_or_create(username="ann")[0]


@fuzz(
    path=st.sampled_from(PATHS),
    body=encoded,
    content_type=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "text/csv", "x"]),
)
def test_any_body_of_a_call(path: str, body: bytes, content_type: str) -> None:
    client = client_of(ann(), raise_request_exception=False)
    response = client.generic("POST", path.format(submit(ann()).pk), body, content_type)
    assert response.status_code < 500, response.content


@fuzz(body=encoded)
def test_any_report_of_an_external_worker(body: bytes) -> None:
    body = body.decode("latin-1").encode("ascii", "ignore")  # as the package that signs takes it
    headers = signed(SECRET, body, message_id="a", timestamp=time.time())
    with override_settings(INBOUND_WEBHOOK_SECRET=SECRET):
        response = Client(raise_request_exception=False).generic(
            "POST", "/api/webhook", body, "application/json", headers=headers
        )
    assert response.status_code < 500, response.content
