"""Requests that no well-behaved client sends, to every address: never an error of the server."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.imageextractor.test_routes import GROUP, OWN, ROUTES, Anns
from tests.support.factories import client_of, make_csv

pytestmark = [pytest.mark.django_db, pytest.mark.needs("more time")]

NUL, NOT_UTF8, SURROGATE, LONG = "%00", "%FF%FE", "%ED%A0%80", "x" * 5000
TEXTS = [
    NUL,
    NOT_UTF8,
    SURROGATE,
    LONG,
    "",
    "-1",
    "9" * 40,
    "1e999",
    "%5B%5D",
    "%F0%9F%98%80",
    "..%2F..%2F",
    "%D9%A3",
]
#: Names of parameters and fields of all pages and calls.
NAMES = [
    *(
        "q",
        "status",
        "code",
        "host",
        "page",
        "page_size",
        "cursor",
        "style",
        "only",
        "excel",
        "against",
        "next",
    ),
    *("search", "ordering", "period", "p", "o", "all", "format", "created_at__gte", "serial_number", "url"),
    *("username", "password", "name", "step", "quality", "max_width", "max_height", "columns", "encoding"),
    *("base_url", "strict", "force", "serial", "images", "events", "description", "webhook_url", "action"),
    *(
        "_selected_action",
        "index",
        "select_across",
        "new_password1",
        "new_password2",
        "old_password",
        "since",
    ),
    *(
        "csrfmiddlewaretoken",
        "version",
        "theme",
        "field",
        "to_field",
        "_popup",
        "enabled",
        "id",
        "lang",
        "script",
    ),
    *("app_label", "model_name", "field_name", "term"),
]
#: Values as the server hands headers on: each character is a byte.
HEADERS: list[dict[str, str]] = [
    *(
        {"CONTENT_TYPE": value}
        for value in (
            "",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\xff",
            "multipart/form-data; boundary=" + "b" * 500,
            "application/json; charset=nonsense",
            "application/json; charset=\xff",
            "application/x-www-form-urlencoded; charset=nonsense",
            "application/x-www-form-urlencoded; charset=utf-16",
            "text/plain",
            "nonsense",
            "\xff/\xff",
            ";;;=",
            "multipart/form-data; charset=nonsense; boundary=b",
        )
    ),
    *(
        {"HTTP_ACCEPT": value}
        for value in ("", "\xff", "nonsense", "text/html;q=nonsense", "*/*;" * 500, "application/xml")
    ),
    *(
        {"HTTP_AUTHORIZATION": value}
        for value in (
            "Token",
            "Token \xff",
            "Token a b",
            "Token " + LONG,
            "Basic \xff",
            "Bearer x",
            "\xff",
            "",
        )
    ),
    *(
        {"HTTP_COOKIE": value}
        for value in (
            "sessionid=\xff",
            "sessionid=" + LONG,
            "csrftoken=\xff; csrftoken=",
            ";;;==;",
            "messages=nonsense",
            "messages=\xff\xfe",
            "sessionid",
            "=x",
            "theme=\xff",
            "csrftoken=" + LONG,
        )
    ),
    *(
        {"HTTP_HOST": value}
        for value in ("a b", "[::1", "\xff", "a:b:c", "", "testserver:99999999", "x" * 5000)
    ),
    *(
        {name: value}
        for name in (
            "HTTP_IDEMPOTENCY_KEY",
            "HTTP_ACCEPT_LANGUAGE",
            "HTTP_IF_NONE_MATCH",
            "HTTP_IF_MODIFIED_SINCE",
            "HTTP_RANGE",
            "HTTP_X_FORWARDED_FOR",
            "HTTP_X_FORWARDED_PROTO",
            "HTTP_X_FORWARDED_HOST",
            "HTTP_REFERER",
            "HTTP_ORIGIN",
            "HTTP_HX_REQUEST",
            "HTTP_HX_CURRENT_URL",
            "HTTP_HX_TARGET",
            "HTTP_HX_TRIGGERING_EVENT",
            "HTTP_X_CSRFTOKEN",
            "HTTP_HX_CURRENT_URL_URI_AUTOENCODED",
            "HTTP_ACCEPT_ENCODING",
            "HTTP_WEBHOOK_ID",
            "HTTP_WEBHOOK_TIMESTAMP",
            "HTTP_WEBHOOK_SIGNATURE",
            "CONTENT_LENGTH",
            "HTTP_USER_AGENT",
            "HTTP_X_HTTP_METHOD_OVERRIDE",
        )
        for value in ("\xff\xfe", LONG, "http://[", "bytes=9-1,-5")
    ),
]


def part(disposition: bytes, content: bytes = b"x", *more: bytes) -> bytes:
    lines = [b"--b", b"Content-Disposition: form-data; " + disposition, *more, b"", content, b""]
    return b"\r\n".join(lines)


END = b"--b--\r\n"
CSV = make_csv()
FILE = b'name="file"; filename="a.csv"'
MULTIPART: list[bytes] = [
    b"",
    b"--b--",
    b"--b",
    b"nonsense",
    b"--b\r\n\r\n\r\n" + END,
    b"--b\r\nContent-Disposition\r\n\r\nx\r\n" + END,
    part(b'name="file"; filename="a\0.csv"', CSV) + END,
    part(b'name="file"; filename="\xff\xfe.csv"', CSV) + END,
    part(b'name="file"; filename="\xed\xa0\x80.csv"', CSV) + END,
    part(b'name="file"; filename="' + b"n" * 900 + b'.csv"', CSV) + END,
    part(b'name="file"; filename="../../etc/passwd"', CSV) + END,
    part(b'name="file"; filename=""', CSV) + END,
    part(b'name="file"; filename="."', CSV) + END,
    part(b'name="file"; filename="/"', CSV) + END,
    part(b'name="file"; filename*=nonsense', CSV) + END,
    part(b"name=\"file\"; filename*=utf-8''%FF%FE.csv", CSV) + END,
    part(b"name=\"file\"; filename*=nonsense''a.csv", CSV) + END,
    part(b"name=\"file\"; filename*=utf-16''%00", CSV) + END,
    part(b'name="file"', CSV) + END,
    part(b'name="\0"', CSV) + END,
    part(b'name="\xff"', CSV) + END,
    part(FILE, CSV) + part(FILE, CSV) + END,
    part(FILE, CSV) + part(b'name="file"', b"x") + END,
    part(FILE, b"") + END,
    part(FILE, b"!!!", b"Content-Transfer-Encoding: base64") + END,
    part(FILE, CSV, b"Content-Transfer-Encoding: nonsense") + END,
    part(FILE, CSV, b"Content-Type: \xff") + END,
    part(FILE, CSV, b"Content-Type: text/csv; charset=nonsense") + END,
    part(FILE, CSV, b"Content-Type: multipart/mixed; boundary=c") + END,
    part(FILE, CSV),
    part(FILE, CSV) + b"".join(part(f'name="{name}"'.encode(), b"\0") for name in NAMES) + END,
    part(FILE, CSV) + b"".join(part(f'name="{name}"'.encode(), b"\xff\xfe") for name in NAMES) + END,
    part(FILE, CSV) + b"".join(part(f'name="{name}"'.encode(), b"\xed\xa0\x80") for name in NAMES) + END,
    part(FILE, CSV) + b"".join(part(f'name="{name}"'.encode(), b"x" * 3000) for name in NAMES) + END,
    part(FILE, CSV) + b"".join(2 * part(f'name="{name}"'.encode(), b"1") for name in NAMES) + END,
    part(FILE, CSV)
    + b"".join(part(f'name="{name}"; filename="x"'.encode(), b"1") for name in NAMES if name != "file")
    + END,
    b"".join(part(b'name="x"') for _ in range(1500)) + END,
    b"".join(part(b'name="x"; filename="x"') for _ in range(200)) + END,
]


@pytest.fixture
def anns(db: None) -> Anns:
    anns = Anns()
    anns.user.is_staff = anns.user.is_superuser = True
    anns.user.save()
    return anns


@pytest.fixture
def client(anns: Anns) -> Client:
    return client_of(anns.user, raise_request_exception=False)


def paths(anns: Anns) -> list[str]:
    """The path of every address; one with an id has that of something that Ann has, or none."""
    found = []
    for route in ROUTES:
        if route not in ("logout/", "admin/logout/"):
            has_own_id = route in OWN or not GROUP.search(route)
            found.append(anns.path(route) if has_own_id else "/" + GROUP.sub("1", route).replace("\\", ""))
    return found


def some(odd: list[Any], place: int, path: str, step: int) -> list[Any]:
    """The cases for one of the addresses: all for those that read most, else others for each of them."""
    return odd if path in {"/", "/api/requests/", "/upload", "/api/webhook"} else odd[place % step :: step]


def queries(place: int, path: str) -> Iterator[str]:
    """Odd texts as the values of all names, each name once or twice, and as a name."""
    for number, text in enumerate(some(TEXTS, place, path, 4)):
        query = "&".join(f"{name}={text}" for name in NAMES)
        forms = (query, f"{text}={text}", f"{query}&{query}")
        yield forms[(place // 4 + number) % 3]


def assert_no_error(client: Client, calls: Iterator[tuple[str, str, Any, dict[str, Any]]]) -> None:
    """Make the calls; storage or workers that are missing are no error of the server."""
    user = User.objects.get(username="ann")
    found = []
    for method, path, body, options in calls:
        response = client.generic(method, path, body, **options)
        if response.status_code >= 500 and response.status_code != 503:
            found.append((response.status_code, method, path, body[:200], options))
        if response.cookies.get("sessionid"):
            client.force_login(user)
    assert not found, "\n".join(map(str, found))


def test_odd_queries(anns: Anns, client: Client) -> None:
    def calls() -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
        for place, path in enumerate(paths(anns)):
            for query in queries(place, path):
                yield "GET", path, "", {"QUERY_STRING": query}

    assert_no_error(client, calls())


def test_odd_paths(anns: Anns, client: Client) -> None:
    def calls() -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
        for place, route in enumerate(route for route in ROUTES if GROUP.search(route)):
            for number, text in enumerate(TEXTS[place % 3 :: 3]):
                path = "/" + GROUP.sub(text or "%20", route).replace("\\", "")
                yield ("GET", "POST", "PATCH", "DELETE")[(place + number) % 4], path, "", {}

    assert_no_error(client, calls())


def test_odd_headers(anns: Anns, client: Client) -> None:
    def calls() -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
        for place, path in enumerate(paths(anns)):
            for number, header in enumerate(some(HEADERS, place, path, 40)):
                sent = {"content_type": "application/json"} | {
                    "content_type" if name == "CONTENT_TYPE" else name: value
                    for name, value in header.items()
                }
                yield "POST" if (place + number) % 2 else "GET", path, b"{}", sent

    assert_no_error(client, calls())


def test_odd_forms(anns: Anns, client: Client) -> None:
    def calls() -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
        for place, path in enumerate(paths(anns)):
            for body in some(MULTIPART, place, path, 12):
                yield "POST", path, body, {"content_type": "multipart/form-data; boundary=b"}
            for form in queries(place, path):
                yield "POST", path, form, {"content_type": "application/x-www-form-urlencoded"}

    assert_no_error(client, calls())
