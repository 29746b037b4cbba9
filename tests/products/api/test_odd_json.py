"""JSON bodies that no well-behaved client sends are refused with 400, whatever is wrong with them."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.factories import submit

pytestmark = pytest.mark.django_db

DEEP = "[" * 100_000 + "]" * 100_000
BODIES = {
    "nested deeply": DEEP,
    "nested deeply in a value": '{"url": ' + DEEP + "}",
    "a lone surrogate": '{"url": "\\ud800", "code": "\\udfff", "status": "\\ud800"}',
    "a lone surrogate as a name": '{"\\ud800": 1}',
    "NUL": '{"url": "http://a.example/\\u0000", "code": "\\u0000", "status": "\\u0000"}',
    "a list": "[1, 2]",
    "a text": '"url"',
    "null": "null",
    "cut off": '{"url": "http',
    "infinite": '{"url": Infinity, "code": NaN, "status": 1e999}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    "path", ["/api/webhooks/", "/api/requests/{}/retry/", "/api/requests/", "/api/webhook"]
)
def test_odd_json_is_refused(api: Client, ann: User, path: str, body: str) -> None:
    response = api.generic("POST", path.format(submit(ann).pk), body, "application/json")
    assert 400 <= response.status_code < 500, response.content[:200]
