"""Whatever stands in a catalogue as a URL, and whatever an origin answers: bytes, or a `FetchError`."""

import gzip

import httpx
from hypothesis import strategies as st

from processing.work.fetch import FetchError
from tests.support.clients import fetch
from tests.support.effort import fuzz

PIECES = [
    "http://",
    "https://",
    "//",
    "shop.example",
    "127.0.0.1",
    "[::1]",
    "xn--",
    "①",
    "ß",
    "。",
    "@",
    ":80",
    "%00",
]
urls = st.lists(st.sampled_from(PIECES) | st.text(max_size=4) | st.text(st.characters(), max_size=4)).map(
    "".join
)
values = st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20)) | st.sampled_from(
    [
        "gzip",
        "gzip, gzip",
        "identity",
        "br",
        "0",
        "-1",
        "9" * 5000,
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 0 Oct",
        "//[",
    ]
)
names = st.sampled_from(
    ["Location", "Content-Encoding", "Content-Length", "Retry-After", "Content-Type", "Set-Cookie"]
)
headers = st.lists(st.tuples(names, values | urls.map(lambda url: url.encode("ascii", "replace").decode())))


def outcome(url: str, answer: httpx.Response) -> None:
    transport = httpx.MockTransport(lambda _: answer)
    try:
        assert len(fetch(transport, url, timeout=60, max_bytes=1000).data) <= 1000
    except FetchError as error:
        assert error.code
        assert error.detail.endswith(".")


@fuzz(url=urls)
def test_any_url(url: str) -> None:
    outcome(url, httpx.Response(200, content=b"picture"))


@fuzz(
    status=st.integers(200, 599) | st.sampled_from([200, 302, 429, 503]),
    headers=headers,
    body=st.binary() | st.binary().map(gzip.compress) | st.just(gzip.compress(bytes(100_000))),
)
def test_any_answer(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    stream = httpx.ByteStream(body)
    outcome("http://shop.example/", httpx.Response(status, headers=headers, stream=stream))
