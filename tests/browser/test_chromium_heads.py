"""Chromium and the service get the same responses: what the one shows, the other reads."""

import gzip
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from processing.work.fetch import FetchError
from tests.support.clients import fetch, transport
from tests.support.origin import Handler, Origin
from tests.support.pictures import photo_jpeg

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE = photo_jpeg(16, 12)
LENGTH = b"Content-Length: %d\r\n" % len(PICTURE)
SHOW = """url => new Promise(resolve => {
    const image = new Image();
    image.onload = () => resolve(image.width === 16);
    image.onerror = () => resolve(false);
    image.src = url;
})"""


def response(fields: bytes = b"", body: bytes = PICTURE, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(fields: bytes, end: bytes = b"\r\n0\r\n\r\n", status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\n" + fields + b"\r\n%x\r\n" % len(PICTURE) + PICTURE + end


def unsized(fields: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + PICTURE


def encoded(name: str, body: bytes = PICTURE) -> bytes:
    return response(b"Content-Encoding: " + name.encode() + b"\r\n", body)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


READ = {
    "regular": response(),
    "blank in a name": response(b"X Powered By: y\r\n"),
    "blank before a colon": response(b"X-Cache : HIT\r\n"),
    "no colon": response(b"what is this\r\n"),
    "no name": response(b": x\r\n"),
    "name in UTF-8": response("X-Ü: a\r\n".encode()),
    "controls in a value": response(b"X: a\x01\x0b\x0c\x1b\x7f\r\n"),
    "folded": response(b"X: a\r\n b\r\n"),
    "folded below the status": response(b" b\r\n"),
    "folded below a bad name": response(b"X Y: a\r\n b\r\n"),
    "bare line feeds": response(b"X: a\r\n").replace(b"\r\n", b"\n", 4),
    "lower case": response(status=b"http/1.1 200 OK"),
    "HTTP/2": response(status=b"HTTP/2 200 OK"),
    "no version": response(status=b"HTTP 200 OK"),
    "two blanks": response(status=b"HTTP/1.1  200 OK"),
    "no blank": response(status=b"HTTP/1.1 200OK"),
    "no reason": response(status=b"HTTP/1.1 200"),
    "chunked twice": chunked(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    "chunked, chunked": chunked(b"Transfer-Encoding: chunked, chunked\r\n"),
    "chunked with a blank": chunked(b"Transfer-Encoding : chunked\r\n"),
    "chunked and identity": chunked(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    "chunked with a length": chunked(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    "identity": response(b"Transfer-Encoding: identity\r\n"),
    "identity until the end": unsized(b"Transfer-Encoding: identity\r\n"),
    "the same length twice": response(LENGTH),
    "no length": unsized(b""),
    **{f"length {text}": unsized(f"Content-Length: {text}\r\n".encode()) for text in ("", "abc", "-1", "+1")},
    "early hints": b"HTTP/1.1 103 Early Hints\r\nno colon\r\n\r\n" + response(),
    **{
        name: encoded(name)
        for name in (
            *("aws-chunked", "none", "binary", "utf-8", "base64", "identity, identity", "image/jpeg"),
            "compress",
        )
    },
    "gzip": encoded("gzip", gzip.compress(PICTURE)),
    "deflate": encoded("deflate", zlib.compress(PICTURE)),
    "deflate without a header": encoded("deflate", raw_deflate(PICTURE)),
}
REFUSED = {
    "two lengths": response(b"Content-Length: 5\r\n"),
    "two lengths, one with a blank": response(b"Content-Length : 5\r\n"),
    "two lengths in one": unsized(b"Content-Length: 4, 5\r\n"),
    "two lengths by a carriage return": response(b"X: a\rContent-Length: 5\r\n"),
    "NUL": response(b"X: a\0b\r\n"),
    "too short": unsized(b"Content-Length: %d\r\n" % (len(PICTURE) + 10)),
    "chunks without an end": chunked(b"Transfer-Encoding: chunked\r\n", end=b""),
    **{f"not {name}": encoded(name) for name in ("gzip", "deflate", "br", "zstd")},
}
#: What Chromium shows and the service refuses, as docs/formats.md says.
SHOWN_ONLY = {
    "after other bytes": b"abcd" + response(),
    "after an empty line": b"\r\n" + response(),
    "without a status": response(status=b"HTTP/1.1"),
    "carriage return": response(b"X: a\rb\r\n"),
    "unknown transfer encoding": response(b"Transfer-Encoding: xyz\r\n"),
    "malformed trailer": chunked(b"Transfer-Encoding: chunked\r\n", end=b"\r\n0\r\nno colon\r\n\r\n"),
    "gzip in gzip": encoded("gzip, gzip", gzip.compress(gzip.compress(PICTURE))),
    "gzip without its end": encoded("gzip", gzip.compress(PICTURE)[:-6]),
}


def sending(data: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def test_what_chromium_shows_is_read(page: "Page") -> None:
    with Origin() as origin, transport("127.0.0.1", max_connections=1) as guarded:
        page.goto(origin.add("/", b"a page"))
        seen = {}
        for number, (name, data) in enumerate((READ | REFUSED | SHOWN_ONLY).items()):
            url = origin.add(f"/{number}.jpg", sending(data))
            try:
                is_read = fetch(guarded, url, timeout=60, max_bytes=10_000).data == PICTURE
            except FetchError:
                is_read = False
            seen[name] = page.evaluate(SHOW, url), is_read
    expected = dict.fromkeys(READ, (True, True)) | dict.fromkeys(REFUSED, (False, False))
    assert seen == expected | dict.fromkeys(SHOWN_ONLY, (True, False))
