"""The reference of the API: a page for each group of calls, made from the OpenAPI schema."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.text import slugify
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from products.api.schema import TAGS

Schema = dict[str, Any]
#: The id in the paths of examples.
PATH_VALUE = "3f0e1c9a-6a55-4e4e-9a53-5f6f2f1f4f10"
#: Values in examples, by the names of fields.
EXAMPLES: dict[str, Any] = {
    "url": "https://shop.example/products.csv",
    "webhook_url": "https://shop.example/hook",
    "name": "Spring",
    "find": "http://",
    "replace": "https://",
    "status": "failed",
    "events": ["request.completed"],
    "request_id": PATH_VALUE,
}
#: Those of a call, by its path and the name of the field.
EXAMPLES_OF_CALLS: dict[tuple[str, str], Any] = {
    ("/api/webhooks/", "url"): "https://shop.example/hook",
    ("/api/webhooks/{id}/", "url"): "https://shop.example/hook",
    ("/api/requests/{id}/images/{image_id}/", "url"): "https://shop.example/chair.jpg",
    ("/api/requests/{id}/retry/", "code"): "timeout",
    ("/api/requests/{id}/replace/", "code"): "http_404",
}
#: Names of schemas whose plural is not regular.
PLURALS = {"Tried": "tried pictures"}
#: Of fields that may be left out, those that an example has all the same.
SHOWN_OPTIONS = ("quality", "url", "name", "note", "enabled", "code")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ENUM_VALUES = re.compile(r"(?m)^\* `[^`]*` - .*$")
_URL_PARAMETER = re.compile(r"\{\w+\}")
#: Stands for the address of the service in examples until a page shows them.
SERVICE = "https://service.example"


class Field(NamedTuple):
    """A parameter, or a field of a body or an answer."""

    name: str
    kind: str
    is_required: bool
    text: str


class Sending(NamedTuple):
    """The HTTP request of an example: `file` is the name of its file field, `values` are its other fields."""

    method: str
    url: str
    file: str | None
    values: Schema
    is_form: bool
    is_download: bool

    @property
    def saved_as(self) -> str:
        """The name for the file that is answered."""
        return self.url.rpartition("/")[2]


class Example(NamedTuple):
    """A call as a program makes it."""

    language: str
    code: str


@dataclass(frozen=True)
class Call:
    """An operation of the API as the reference shows it."""

    id: str
    method: str
    path: str
    summary: str
    text: str
    parameters: list[Field]
    body: list[Field]
    answers: list[Field]
    statuses: list[str]
    examples: list[Example]


class Group(NamedTuple):
    """The calls with a tag."""

    name: str
    slug: str
    calls: list[Call]


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """All calls by group."""
    return render(request, "api/docs.html", {"groups": groups()})


@require_safe
def group(request: HttpRequest, slug: str) -> HttpResponse:
    """The calls of one group with their fields and examples."""
    found = next((one for one in groups() if one.slug == slug), None)
    if found is None:
        raise Http404
    calls = [_at_service(call, settings.PUBLIC_URL) for call in found.calls]
    return render(request, "api/docs_group.html", {"groups": groups(), "group": found._replace(calls=calls)})


def _at_service(call: Call, url: str) -> Call:
    """Return a call with examples that call the service at this URL."""
    examples = [one._replace(code=one.code.replace(SERVICE, url)) for one in call.examples]
    return replace(call, examples=examples)


def openapi_schema() -> Schema:
    """Return the OpenAPI schema."""
    return cast(Schema, cast(Any, SchemaGenerator)().get_schema(public=True))


@cache
def groups() -> list[Group]:
    """Return all calls in the order of TAGS. They are the same for as long as the process lives."""
    schema = openapi_schema()
    by_tag: dict[str, list[Call]] = {tag: [] for tag in TAGS}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append(_call(schema, path, method, operation))
    return [Group(tag, slugify(tag), calls) for tag, calls in by_tag.items() if calls]


def _call(schema: Schema, path: str, method: str, operation: Schema) -> Call:
    content = operation.get("requestBody", {}).get("content", {})
    body = _resolved(schema, _schema_of(content))
    successes = {code: one for code, one in operation["responses"].items() if code.startswith("2")}
    answer = next(iter(successes.values())).get("content", {})
    answered = _resolved(schema, _schema_of(answer))
    parameters = [
        Field(
            one["name"],
            _kind(schema, one["schema"]),
            one.get("required", False),
            _plain(one.get("description", "")),
        )
        for one in operation.get("parameters", [])
    ]
    sent = dict(_example_fields(schema, path, body))
    sending = Sending(
        method=method.upper(),
        url=_URL_PARAMETER.sub(PATH_VALUE, SERVICE + path),
        file=next((name for name, value in sent.items() if value is None), None),
        values={name: value for name, value in sent.items() if value is not None},
        is_form="application/json" not in content,
        is_download=answered.get("format") == "binary",
    )
    return Call(
        id=slugify(f"{method}-{path.replace('/', '-')}"),
        method=method.upper(),
        path=path,
        summary=_plain(operation["summary"]),
        text=_plain(operation.get("description", "")),
        parameters=parameters,
        body=[*_fields(schema, body)],
        answers=[*_fields(schema, answered)],
        statuses=sorted(operation["responses"]),
        examples=_examples(sending),
    )


def _plain(text: str) -> str:
    """Return a text without the marks of code that Markdown has, and without the list of an enum's values."""
    return _ENUM_VALUES.sub("", text).replace("`", "").strip()


def _schema_of(content: Schema) -> Schema:
    """Return the schema of the first content type of a body or an answer; an empty one if there is none."""
    for described in content.values():
        return cast(Schema, described.get("schema", {}))
    return {}


def _resolved(schema: Schema, part: Schema) -> Schema:
    """Return a part of the schema with its references followed."""
    for reference in [part, *part.get("allOf", [])[:1]]:
        if "$ref" in reference:
            return _resolved(schema, schema["components"]["schemas"][reference["$ref"].rpartition("/")[2]])
    return part


def _fields(schema: Schema, part: Schema) -> Iterator[Field]:
    part = _resolved(schema, part.get("items", part))
    required = part.get("required", [])
    for name, one in part.get("properties", {}).items():
        yield Field(
            name, _kind(schema, _resolved(schema, one)), name in required, _plain(one.get("description", ""))
        )


def _kind(schema: Schema, part: Schema) -> str:
    """Return the type of a value in a few words."""
    if "enum" in part:
        return " | ".join(str(value) for value in part["enum"])
    if "oneOf" in part:
        return " | ".join(_kind(schema, one) for one in part["oneOf"])
    if part.get("type") == "array":
        return f"list of {_kind_of_items(schema, part['items'])}"
    kind = part.get("format") if part.get("format") in {"uri", "uuid", "date-time", "binary"} else None
    named = {"binary": "file", "uri": "URL", "date-time": "time", "uuid": "id"}.get(kind or "", "")
    return (named or part.get("type", "object")) + (" or null" if part.get("nullable") else "")


def _kind_of_items(schema: Schema, items: Schema) -> str:
    """Return what a list has: objects by the name of their schema in the plural, values by their type."""
    resolved = _resolved(schema, items)
    if "$ref" not in items or "enum" in resolved:
        kind = _kind(schema, resolved)
        return kind if "enum" in resolved else f"{kind}s"
    name = items["$ref"].rpartition("/")[2]
    words = _CAPITAL.sub(" ", name).lower()
    return PLURALS.get(name) or (f"{words[:-1]}ies" if words.endswith("y") else f"{words}s")


def _example_fields(schema: Schema, path: str, body: Schema) -> Iterator[tuple[str, Any]]:
    """Yield what an example sends: the fields that are required, and a few that may be left out."""
    for name, one in body.get("properties", {}).items():
        part = _resolved(schema, one)
        if not part.get("readOnly") and (name in body.get("required", []) or name in SHOWN_OPTIONS):
            yield name, _example(path, name, part)


def _example(path: str, name: str, part: Schema) -> Any:
    if part.get("format") == "binary":
        return None
    if (path, name) in EXAMPLES_OF_CALLS:
        return EXAMPLES_OF_CALLS[path, name]
    if "default" in part:
        return part["default"]
    if "enum" in part:
        return part["enum"][0]
    by_type = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    return EXAMPLES.get(name, by_type.get(part.get("type", ""), "…"))


def _examples(sending: Sending) -> list[Example]:
    """Return a call in each language."""
    languages = (("curl", _curl), ("Python", _python), ("JavaScript", _javascript))
    return [Example(language, write(sending)) for language, write in languages]


def _curl(call: Sending) -> str:
    method = "" if call.method == "GET" else f"-X {call.method} "
    lines = [f"curl {method}{call.url}", '-H "Authorization: Token $TOKEN"']
    if call.file:
        lines.append(f"-F {call.file}=@catalogue.csv")
    if call.is_form:
        lines += [f"-F '{name}={_text(value)}'" for name, value in call.values.items()]
    elif call.values:
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(call.values)}'"]
    if call.is_download:
        lines.append(f"-o {call.saved_as}")
    return " \\\n  ".join(lines)


def _python(call: Sending) -> str:
    arguments = [f'"{call.url}"', 'headers={"Authorization": f"Token {token}"}']
    if call.file:
        arguments.append(f'files={{"{call.file}": open("catalogue.csv", "rb")}}')
    if call.values:
        arguments.append(f"{'data' if call.is_form else 'json'}={call.values!r}")
    listed = "".join(f"    {argument},\n" for argument in arguments)
    lines = [
        "import httpx\n",
        f"answer = httpx.{call.method.lower()}(\n{listed})",
        "answer.raise_for_status()",
    ]
    if call.is_download:
        lines.append(f'open("{call.saved_as}", "wb").write(answer.content)')
    elif call.method != "DELETE":
        lines.append("print(answer.json())")
    return "\n".join(lines)


def _javascript(call: Sending) -> str:
    lines: list[str] = []
    options = [f'method: "{call.method}"', "headers: { Authorization: `Token ${token}` }"]
    if call.is_form and (call.file or call.values):
        lines = ["const form = new FormData();"]
        lines += [f'form.append("{call.file}", input.files[0]);'] if call.file else []
        lines += [f'form.append("{name}", "{_text(value)}");' for name, value in call.values.items()]
        options.append("body: form")
    elif call.values:
        options[1] = 'headers: { Authorization: `Token ${token}`, "Content-Type": "application/json" }'
        options.append(f"body: JSON.stringify({json.dumps(call.values)})")
    listed = "".join(f"  {option},\n" for option in options)
    lines += [f'const answer = await fetch("{call.url}", {{\n{listed}}});']
    lines += ["if (!answer.ok) throw new Error(answer.statusText);"]
    if call.method != "DELETE":
        lines.append(f"const result = await answer.{'blob' if call.is_download else 'json'}();")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
