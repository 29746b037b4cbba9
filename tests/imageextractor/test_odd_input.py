"""No request, however odd, is answered by a server error."""

import json
from collections.abc import Iterator

import pytest
from django.test import Client

from tests.imageextractor.test_rights import CALLS
from tests.imageextractor.test_routes import OWN, Anns
from tests.support.factories import client_of, make_csv

pytestmark = pytest.mark.django_db

DEEP = 100_000
FORM = "multipart/form-data; boundary=x"
CSV = make_csv()
QUERIES = [
    *(
        "a=%00",
        "q=%00&status=%00",
        "code=%ED%A0%80&host=%ED%A0%80",
        "%ED%A0%80=1",
        "q=%FF&cursor=%FF",
        "cursor=%00",
    ),
    *(
        "page=-1",
        f"page={'9' * 5000}",
        f"page_size={'9' * 5000}",
        f"after={'9' * 5000}",
        f"before={'9' * 30}",
    ),
    *(
        f"row={'9' * 30}",
        "row=1e999",
        "page=1e400",
        "against=%00",
        "only=%00&style=%ED%A0%80",
        "q=" + "a" * 5000,
    ),
    *(
        "cursor=cD0lMDA=",
        "cursor=" + "A" * 4000,
        "a=1&" * 1500,
        "status=a&status=b",
        "seen=%00",
        "next=%00",
        "[" * 900,
    ),
]


def part(name: str, value: bytes, headers: str = "") -> bytes:
    """Return one part of a form, with its name as it stands in the header."""
    return (
        b"--x\r\nContent-Disposition: form-data; "
        + name.encode()
        + headers.encode()
        + b"\r\n\r\n"
        + value
        + b"\r\n"
    )


def json_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield bodies of JSON, and of what says that it is."""
    kind = "application/json"
    for text in ("[" * DEEP, "[" * DEEP + "]" * DEEP, '{"url":' * DEEP + "1" + "}" * DEEP):
        yield kind, text.encode()
    odd = [
        "\ud800",
        "\x00",
        "a" * 5000,
        10**4000,
        -(10**30),
        1e300,
        True,
        None,
        [],
        {},
        [{}],
        {"a": ["\udfff"]},
        "\u202e",
    ]
    names = (
        "url",
        "events",
        "enabled",
        "description",
        "status",
        "since",
        "code",
        "host",
        "request_id",
        "name",
    )
    for value in odd:
        for written in (value, [value], [value] * 3):
            yield kind, json.dumps(dict.fromkeys(names, written)).encode()
        yield kind, json.dumps(value).encode()
    yield kind, json.dumps({"\ud800": 1, "\x00": 2, "a" * 5000: 3}).encode()
    yield kind, b'{"url": NaN, "status": Infinity, "since": -Infinity}'
    yield kind, b'{"url": ' + b"9" * 10_000 + b"}"
    yield from (
        (kind, data)
        for data in (b"", b"\xff\xfe", b'{"url": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b"nul", b"{}x")
    )
    for charset in ("utf-16", "utf-7", "hex", "rot13", "nonsense", "idna", "\x00", "undefined", "punycode"):
        yield f"{kind}; charset={charset}", b'{"url": "+2AA-"}'
    yield from (
        (other, b"{}")
        for other in ("", "text/plain", "application/json;", "a/b; c", "\x00", "multipart/json")
    )


def form_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield bodies of forms."""
    encoded = "application/x-www-form-urlencoded"
    names = (
        "url",
        "events",
        "status",
        "since",
        "code",
        "host",
        "name",
        "step",
        "encoding",
        "base_url",
        "columns",
    )
    others = ("quality", "max_width", "format", "serial", "images", "next", "username", "password")
    for value in ("%00", "%ED%A0%80", "%FF", "9" * 5000, "1e999", "a" * 9000, "[" * 9000, "", "%F0%9F%A6%84"):
        yield encoded, "&".join(f"{name}={value}" for name in (*names, *others)).encode()
        for charset in (
            "utf-16",
            "utf-7",
            "hex",
            "rot13",
            "idna",
            "undefined",
            "unicode_escape",
            "raw_unicode_escape",
        ):
            yield f"{encoded}; charset={charset}", f"url={value}&name=+2AA-&code=%5Cud800".encode()
    yield encoded, b"a=1&" * 1500
    yield encoded, b"csrfmiddlewaretoken=%00&_method=%00"
    file = part('name="file"; filename="a.csv"', CSV)
    yield FORM, file * 3 + b"--x--\r\n"
    yield FORM, part('name="file"', CSV) + file + part('name="file"', b"text") + b"--x--\r\n"
    filenames = (
        "",
        "\x00",
        "a" * 5000,
        "../../etc/passwd",
        "a.csv\x00.png",
        "\ud83e".encode("utf-8", "replace").decode(),
    )
    for name in (*filenames, ".", "..", "/", "\\", " ", "a/../b", "é" * 300):
        yield (
            FORM,
            part(f'name="file"; filename="{name}"', CSV) + part('name="step"', b"preview") + b"--x--\r\n",
        )
    for written in (
        "utf-8''%ED%A0%80",
        "nonsense''a",
        "hex''a",
        "utf-7''+2AA-",
        "raw_unicode_escape''%5Cud800",
        "''",
        "x",
    ):
        yield (
            FORM,
            part(f'name="file"; filename*={written}', CSV) + part('name="step"', b"preview") + b"--x--\r\n",
        )
        yield FORM, part(f"name*={written}", CSV) + file + b"--x--\r\n"
    for headers in (
        "\r\nContent-Type: text/csv; charset=hex",
        "\r\nContent-Transfer-Encoding: base64",
        "\r\nContent-Type: \x00",
    ):
        yield FORM, part('name="file"; filename="a.csv"', CSV, headers) + b"--x--\r\n"
        yield FORM, part('name="quality"', b"50", headers) + file + b"--x--\r\n"
    columns = [
        "[" * DEEP,
        '{"serial":"\\ud800"}',
        '{"\\ud800":1}',
        '{"serial":"\\u0000"}',
        "9" * 9000,
        '{"images":' + "[" * DEEP,
    ]
    for value in (*columns, "null", "[]", '"a"', '{"images":[{}]}', "NaN", '{"images":"a"}', "{" * 9000):
        yield FORM, file + part('name="columns"', value.encode()) + b"--x--\r\n"
    for raw in (
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"9" * 9000,
        b"a" * 9000,
        b"utf_16",
        b"idna",
        b"hex",
        b"undefined",
    ):
        for name in (
            "quality",
            "encoding",
            "base_url",
            "webhook_url",
            "format",
            "max_width",
            "strict",
            "step",
            "\x00",
        ):
            yield FORM, file + part(f'name="{name}"', raw) + b"--x--\r\n"
    yield FORM, part('name="%s"' % ("a" * 9000), b"1") + file + b"--x--\r\n"
    yield FORM, part('name="a"', b"1") * 1500 + b"--x--\r\n"
    yield from (
        (FORM, data)
        for data in (b"", b"--x", b"--x--", b"--x\r\n\r\n", b"\r\n--x\r\n", file, b"--y--\r\n", file[:40])
    )
    for boundary in (
        "",
        "; boundary=",
        "; boundary=" + "x" * 300,
        "; boundary=\x00",
        "; boundary=é",
        '; boundary="a b"',
    ):
        yield f"multipart/form-data{boundary}", file


HEADERS = [
    *({"Idempotency-Key": value} for value in ("\x00", "a" * 5000, "é", "\udcff", "\ud800")),
    *(
        {"Authorization": value}
        for value in ("Token", "Token \x00", "Token é", "Token " + "a" * 9000, "Basic \xff", "\x00")
    ),
    *(
        {"Accept": value}
        for value in ("\x00", "a/b/c", ";", "application/json; q=x", "*", "text/html; version=\x00")
    ),
    *(
        {"Cookie": value}
        for value in ("sessionid=\x00", "csrftoken=\x00; sessionid=é", "messages=\x00", "a" * 9000)
    ),
    *({"HX-Request": "true", "HX-Current-URL": value} for value in ("\x00", "http://[", "%ED%A0%80")),
    *(
        {"Range": "bytes=9-1"},
        {"If-Modified-Since": "\x00"},
        {"Accept-Language": "\x00"},
        {"Accept-Encoding": "\x00"},
    ),
]


@pytest.fixture
def anns(db: None) -> Anns:
    return Anns()


@pytest.fixture
def owner(anns: Anns) -> Client:
    client = client_of(anns.user)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("route", OWN)
def test_no_query_and_no_header_is_answered_by_a_server_error(anns: Anns, owner: Client, route: str) -> None:
    path = anns.path(route)
    failures = []
    for query in QUERIES:
        if owner.generic("GET", path, QUERY_STRING=query).status_code >= 500:
            failures.append(query)
    for headers in HEADERS:
        variables = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        if owner.generic("GET", path, **variables).status_code >= 500:  # type: ignore[arg-type]
            failures.append(str(headers))
    assert not failures


@pytest.mark.parametrize(("method", "route"), CALLS, ids=str)
def test_no_body_is_answered_by_a_server_error(anns: Anns, owner: Client, method: str, route: str) -> None:
    bodies = [*form_bodies(), *(json_bodies() if route.startswith("api/") else ())]
    if not route.startswith(("api/", "upload")):
        bodies += list(json_bodies())[:3]
    failures = []
    for kind, body in bodies:
        answer = owner.generic(method, anns.path(route), body, kind)
        if answer.status_code >= 500:
            failures.append((kind, body[:120]))
    assert not failures
