"""The API answers as its OpenAPI schema says, whatever it is sent.

Schemathesis draws the calls from the schema: no answer is a server error, none is undeclared. The same calls
are drawn in every run.
"""

from collections.abc import Iterator
from typing import Any, cast
from zlib import crc32

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from products.accounts.models import ApiToken
from products.models import Request
from tests.support.factories import make_csv, make_user, three_outcomes

pytestmark = pytest.mark.django_db

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture
def ann() -> User:
    return make_user()


@pytest.fixture
def token(ann: User) -> str:
    key = ApiToken.objects.issue(ann)
    ApiToken.objects.update(last_used_at=timezone.now())  # so that not every call notes it
    return key


@pytest.fixture
def batch(ann: User) -> Request:
    return three_outcomes(ann)


@pytest.fixture(autouse=True)
def in_process(settings: Settings) -> Iterator[None]:
    """Let calls reach the application in this thread, and the test's transaction outlive them."""
    settings.ALLOWED_HOSTS = ["localhost"]  # what Schemathesis calls it
    ends = (request_started, request_finished)
    for signal in ends:
        signal.disconnect(close_old_connections)
    yield
    for signal in ends:
        signal.connect(close_old_connections)


SCHEMA: dict[str, Any] = cast(Any, SchemaGenerator)().get_schema(public=True)
calls = schemathesis.openapi.from_dict(SCHEMA)
calls.app = get_wsgi_application()
#: Calls that take the body of the POST which makes the object, of up to a thousand boundary values: they are
#: sent a tenth of them. So are a repetition, which takes the options of a profile, and a preview and a trial,
#: which take those of an upload.
LIKE_ANOTHER = {
    *(
        f"{method} /api/{name}/{{id}}/"
        for method in ("PUT", "PATCH")
        for name in ("profiles", "webhooks", "feeds")
    ),
    *(f"POST /api/requests/{name}/" for name in ("{id}/repeat", "preview", "trial")),
}
#: Bodies that reach the same serializer as JSON, by parsers of the framework: a tenth of them are sent too.
FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}
drawn = hypothesis_settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def tried() -> set[str]:
    """The calls that were sent already. Schemathesis draws some of them several times."""
    return set()


@calls.parametrize()
@drawn
def test_no_call_is_answered_by_what_is_not_declared(
    case: Case[Any], batch: Request, token: str, tried: set[str]
) -> None:
    if case.path_parameters:  # any id first, then that of what is there
        call(case, token, tried, case.path_parameters)
        case.path_parameters = {name: str(batch.pk) for name in case.path_parameters}
    if isinstance(case.body, dict) and "file" in case.body:
        case.body |= {"file": cast(Any, make_csv())}
    call(case, token, tried, (case.query, case.headers, case.cookies, case.media_type, case.body))


def call(case: Case[Any], token: str, tried: set[str], parts: object) -> None:
    """Make a call, unless one with the same parts was made or others stand for it."""
    key = repr((case.method, parts))
    is_like_another = case.operation.label in LIKE_ANOTHER or (case.media_type in FORMS and takes_json(case))
    if key in tried or (is_like_another and crc32(key.encode()) % 10):
        return
    with transaction.atomic():  # the next call finds what this one did
        case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=CHECKS)
        transaction.set_rollback(True)
    tried.add(key)


def takes_json(case: Case[Any]) -> bool:
    return any(body.media_type == "application/json" for body in case.operation.body)
