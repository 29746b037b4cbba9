"""The reference of the API on pages, and the schema that it is made from."""

import ast
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from products.api import docs
from products.api.schema import TAGS

pytestmark = pytest.mark.django_db

MAX_PAGE_BYTES = 100_000
CALLS = [call for group in docs.groups() for call in group.calls]


def parts(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the schema with its place."""
    if isinstance(part, dict):
        yield path, part
        for name, one in part.items():
            yield from parts(one, f"{path}/{name}")
    elif isinstance(part, list):
        for number, one in enumerate(part):
            yield from parts(one, f"{path}/{number}")


def test_every_object_of_the_schema_has_typed_properties_or_typed_values() -> None:
    untyped = [
        path
        for path, part in parts(docs.openapi_schema())
        if part.get("type") == "object"
        and not part.get("properties")
        and not part.get("additionalProperties")
    ]
    assert untyped == []


def test_every_call_has_a_group_and_a_summary_of_its_own() -> None:
    operations = [one for methods in docs.openapi_schema()["paths"].values() for one in methods.values()]
    assert len(CALLS) == len(operations)
    assert {one["tags"][0] for one in operations} == {*TAGS}
    assert all(0 < len(one["summary"]) <= 100 for one in operations)


def test_the_reference_lists_every_call_and_each_group_has_a_small_page(client: Client) -> None:
    listed = client.get("/api/docs/").content.decode()
    assert all(f"<code>{call.path}</code>" in listed for call in CALLS)
    for group in docs.groups():
        page = client.get(f"/api/docs/{group.slug}/").content
        assert len(page) < MAX_PAGE_BYTES
        assert all(f'id="{call.id}"'.encode() in page for call in group.calls)
    assert client.get("/api/docs/nothing/").status_code == 404


def test_examples_call_this_service(client: Client, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://pictures.shop.example"
    page = client.get("/api/docs/requests/").content.decode()
    assert "curl https://pictures.shop.example/api/requests/" in page
    assert docs.SERVICE not in page


def test_lists_say_of_what_they_are_and_choices_are_listed_once(client: Client) -> None:
    fields = [field for call in CALLS for field in (*call.parameters, *call.body, *call.answers)]
    assert not [field.name for field in fields if field.kind == "list" or " - " in field.text]
    (listed,) = [call for call in CALLS if (call.method, call.path) == ("GET", "/api/requests/")]
    kinds = {field.name: field.kind for field in listed.answers}
    assert kinds["results"] == "list of requests"
    (status,) = [field for field in listed.parameters if field.name == "status"]
    assert status.text == "Only those with this status."
    assert "completed_with_errors" in status.kind


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_each_call_has_examples_in_three_languages(call: docs.Call) -> None:
    curl, python, javascript = (one.code for one in call.examples)
    words = shlex.split(curl.replace("\\\n", " "))
    assert words[0] == "curl"
    assert "{" not in next(word for word in words if "://" in word)
    imported, sent, *_others = ast.parse(python).body
    assert isinstance(imported, ast.Import)
    assert isinstance(sent, ast.Assign)
    assert f'method: "{call.method}"' in javascript
    assert javascript.count("(") == javascript.count(")")
    assert javascript.count("{") == javascript.count("}")


def test_examples_send_what_their_calls_take() -> None:
    examples = {(call.method, call.path): call.examples[0].code for call in CALLS}
    assert '"url": "https://shop.example/hook"' in examples["POST", "/api/webhooks/"]
    assert '"url": "https://shop.example/products.csv"' in examples["POST", "/api/feeds/"]
    assert '{"code": "timeout"}' in examples["POST", "/api/requests/{id}/retry/"]


def test_a_value_of_several_types_names_them_and_statuses_are_in_order() -> None:
    (upload,) = (call for call in CALLS if (call.method, call.path) == ("POST", "/api/requests/"))
    assert next(field.kind for field in upload.body if field.name == "quality") == "integer | auto"
    assert all(call.statuses == sorted(call.statuses) for call in CALLS)
