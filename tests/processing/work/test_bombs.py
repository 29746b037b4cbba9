"""Answers that are meant to fill the memory or to take for ever, over real sockets.

The fetches run in a process of their own, of which the kernel says how large it ever was. Whether they take
too long is judged by whether they end: most of these answers go on for ever, and what ends them is a limit.
"""

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from itertools import count

import pytest

from tests.support.clients import fetch, transport
from tests.support.origin import Answer, Handler, Origin
from tests.support.stack import ROOT

fetched_elsewhere = pytest.mark.needs("a process of its own")

MAX_BYTES = 50_000_000
# What a fetch may take beside the picture: buffers of the connection, of HTTP and of gzip.
OVERHEAD = 8_000_000

# Fetches URLs at once, and tells each outcome and by how many bytes the process grew at most.
PROGRAM = """
import asyncio, json, sys
from ipaddress import ip_network
from processing.work.fetch import FetchError, fetch
from processing.http.transport import GuardedTransport

async def outcome(transport, url):
    try:
        return len((await fetch(transport, url, timeout=timeout, max_bytes=max_bytes)).data)
    except FetchError as error:
        return error.code

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

async def main():
    async with GuardedTransport(allowed_networks=[ip_network("127.0.0.1")], max_connections=64) as transport:
        await asyncio.gather(*[outcome(transport, warm_up) for _ in range(64)])
        before = peak()
        outcomes = await asyncio.gather(*[outcome(transport, url) for url in urls])
        print(json.dumps([outcomes, peak() - before]))

timeout, max_bytes, warm_up, *urls = json.loads(sys.argv[1])
asyncio.run(main())
"""


def fetch_all(
    origin: Origin, *urls: str, timeout: float = 1000, max_bytes: int = MAX_BYTES
) -> tuple[list[str | int], int]:
    """The outcomes (a length or an error's code), and by how many bytes the process grew at most."""
    warm_up = origin.add("/warm-up", b"x")
    arguments = json.dumps([timeout, max_bytes, warm_up, *urls])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    outcomes, growth = json.loads(done.stdout)
    return outcomes, growth


def fetch_one(
    origin: Origin, route: Answer | Callable[[Handler], None], **limits: float
) -> tuple[str | int, int]:
    (outcome,), growth = fetch_all(origin, origin.add("/bomb", route), **limits)  # type: ignore[arg-type]
    return outcome, growth


def fetch_each(
    origin: Origin, answers: Iterable[Answer | Callable[[Handler], None]], **limits: float
) -> tuple[list[str | int], int]:
    """Fetch all these answers at once."""
    urls = [origin.add(f"/{number}", answer) for number, answer in enumerate(answers)]
    return fetch_all(origin, *urls, **limits)  # type: ignore[arg-type]


def gzipped_zeros(megabytes: int) -> bytes:
    """gzip of as many zeros, made of one megabyte's again and again."""
    megabyte = bytes(1_000_000)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = deflater.compress(megabyte) + deflater.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(megabytes):
        checksum = zlib.crc32(megabyte, checksum)
    ending = checksum.to_bytes(4, "little") + (megabytes * len(megabyte) % 2**32).to_bytes(4, "little")
    return gzip.compress(b"")[:10] + piece * megabytes + deflater.flush() + ending


def for_ever(handler: Handler, beginning: bytes, again: bytes, pause: float = 0) -> None:
    """Send `beginning`, and `again` until the client has gone or the test is over."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + beginning)
    while not handler.origin.stopping.wait(pause):
        handler.wfile.write(again)


def test_the_bomb_is_one() -> None:
    assert gzip.decompress(gzipped_zeros(3)) == bytes(3_000_000)


@fetched_elsewhere
def test_gzip_of_a_gigabyte_is_cut_off_at_the_limit(origin: Origin) -> None:
    bomb = gzipped_zeros(1000)
    assert len(bomb) < 2_000_000
    outcome, growth = fetch_one(origin, Answer(bomb, headers={"Content-Encoding": "gzip"}))
    assert outcome == "too_large"
    assert growth < 1.5 * MAX_BYTES


@fetched_elsewhere
def test_a_chain_of_encodings_is_not_undone(origin: Origin) -> None:
    bomb = gzip.compress(gzipped_zeros(200))
    chains = ("gzip, gzip", "gzip\r\nContent-Encoding: gzip", "deflate, gzip", "br")
    answers = [Answer(bomb, headers={"Content-Encoding": chain}) for chain in chains]
    outcomes, growth = fetch_each(origin, answers)
    assert outcomes == ["unsupported_format"] * 4
    assert growth < OVERHEAD


@fetched_elsewhere
def test_gzip_within_gzip_is_undone_once(origin: Origin) -> None:
    inner = gzipped_zeros(200)
    outcome, growth = fetch_one(origin, Answer(gzip.compress(inner), headers={"Content-Encoding": "gzip"}))
    assert outcome == len(inner)
    assert growth < OVERHEAD


@fetched_elsewhere
def test_gzip_that_never_becomes_anything_is_cut_off_at_the_limit(origin: Origin) -> None:
    header, empty_block = gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff"

    def answer(handler: Handler) -> None:
        for_ever(handler, b"Content-Encoding: gzip\r\n\r\n" + header, empty_block * 10_000)

    outcome, growth = fetch_one(origin, answer)
    assert outcome == "too_large"
    assert growth < OVERHEAD


def endless_body(handler: Handler) -> None:
    for_ever(handler, b"\r\n", bytes(100_000))


def endless_chunks(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(0x10000) + b"\r\n")


def endless_chunk(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", bytes(100_000))


@fetched_elsewhere
@pytest.mark.parametrize("answer", [endless_body, endless_chunks, endless_chunk])
def test_an_endless_body_is_cut_off_at_the_limit(origin: Origin, answer: Callable[[Handler], None]) -> None:
    outcome, growth = fetch_one(origin, answer)
    assert outcome == "too_large"
    assert growth < 1.5 * MAX_BYTES


@fetched_elsewhere
def test_many_endless_bodies_at_once_take_no_more_than_their_limits(origin: Origin) -> None:
    urls = [origin.add(f"/{number}", endless_body) for number in range(32)]
    outcomes, growth = fetch_all(origin, *urls, max_bytes=5_000_000)
    assert outcomes == ["too_large"] * 32
    assert growth < 32 * 1.5 * 5_000_000


@fetched_elsewhere
def test_a_body_that_announces_too_much_is_not_read(origin: Origin) -> None:
    def announce(handler: Handler) -> None:
        for_ever(handler, b"Content-Length: 1000000000000000000\r\n\r\n", bytes(100_000))

    outcome, growth = fetch_one(origin, announce)
    assert outcome == "too_large"
    assert growth < OVERHEAD


def drip_body(handler: Handler) -> None:
    for_ever(handler, b"Content-Length: 1000\r\n\r\n", b"x", pause=1)


def drip_header(handler: Handler) -> None:
    for_ever(handler, b"X: ", b"x", pause=1)


def drip_chunks(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", pause=1)


def drip_gzip(handler: Handler) -> None:
    for_ever(handler, b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\x00", pause=1)


def drip_error_page(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 404 Gone\r\nContent-Length: 1000\r\n\r\n")
    while not handler.origin.stopping.wait(1):
        handler.wfile.write(b"x")


def race_of_small_chunks(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000)


def announce_for_ever(handler: Handler) -> None:
    while not handler.origin.stopping.is_set():
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 100)


SLOW = {
    drip_body: "timeout",
    drip_header: "timeout",
    drip_chunks: "timeout",
    drip_gzip: "timeout",
    drip_error_page: "http_404",
}
FAST = {race_of_small_chunks: "timeout", announce_for_ever: "connect"}


@fetched_elsewhere
@pytest.mark.parametrize("answers", [SLOW, FAST])
def test_what_never_comes_to_an_end_is_ended(
    origin: Origin, answers: dict[Callable[[Handler], None], str]
) -> None:
    outcomes, growth = fetch_each(origin, answers, timeout=3)
    assert outcomes == list(answers.values())
    assert growth < OVERHEAD  # of all of them together


def endless_header_line(handler: Handler) -> None:
    for_ever(handler, b"X: ", b"x" * 10_000)


def endless_header_lines(handler: Handler) -> None:
    for_ever(handler, b"", b"X: y\r\n" * 1000)


def endless_trailers(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: y\r\n" * 1000)


def endless_chunk_extension(handler: Handler) -> None:
    for_ever(handler, b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"b" * 10_000)


@fetched_elsewhere
def test_a_flood_of_headers_is_hung_up_on(origin: Origin) -> None:
    answers = (endless_header_line, endless_header_lines, endless_trailers, endless_chunk_extension)
    outcomes, growth = fetch_each(origin, answers)
    assert outcomes == ["connect"] * 4
    assert growth < OVERHEAD


@fetched_elsewhere
def test_five_hundred_redirects_are_left_after_five(origin: Origin) -> None:
    for number in range(500):
        origin.add(f"/{number}", Answer(status=302, headers={"Location": f"/{number + 1}"}))
    origin.add("/500", b"the picture")
    outcomes, _ = fetch_all(origin, origin.url("/0"))
    assert outcomes == ["too_many_redirects"]
    assert [request.target for request in origin.received if request.target != "/warm-up"] == [
        f"/{number}" for number in range(6)
    ]


LENGTHS: dict[bytes, str | int] = {
    b"Content-Length: 10\r\n": "connect",  # more than comes
    b"Content-Length: 3\r\n": 3,  # less than comes
    b"Content-Length: 0\r\n": "not_an_image",
    b"Content-Length: -1\r\n": 7,  # what is no number is ignored, and the connection is closed
    b"Content-Length: 0x7\r\n": 7,
    b"Content-Length: 7 7\r\n": "connect",
    b"Content-Length: 7\r\nContent-Length: 3\r\n": "connect",
    b"Content-Length: 7, 3\r\n": "connect",
    b"Content-Length: " + b"9" * 5000 + b"\r\n": "connect",
    b"Content-Length: 7\r\nTransfer-Encoding: gzip\r\n": "connect",
    b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n": "connect",  # `picture` is no chunk
}


@fetched_elsewhere
def test_a_wrong_length_is_never_believed(origin: Origin) -> None:
    def answering(lengths: bytes) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + lengths + b"\r\npicture")
            handler.close_connection = True

        return answer

    outcomes, _growth = fetch_each(origin, map(answering, LENGTHS))
    assert dict(zip(LENGTHS, outcomes, strict=True)) == LENGTHS


def test_what_follows_an_answer_is_not_taken_for_the_next_one(origin: Origin) -> None:
    numbers = count()

    def smuggle(handler: Handler) -> None:
        if next(numbers):
            handler.answer(Answer(b"second"))
        else:
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
            handler.wfile.write(answer % (1, b"1") + answer % (6, b"forged"))

    url = origin.add("/bomb", smuggle)
    with transport("127.0.0.1", max_connections=1) as guarded:
        assert fetch(guarded, url, timeout=60, max_bytes=100).data == b"1"
        assert fetch(guarded, url, timeout=60, max_bytes=100).data == b"second"
