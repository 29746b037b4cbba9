"""Uploads that are too large, over real sockets: refused before they are on disk, in words."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import pytest

from imageextractor.upload_handlers import FORM_OVERHEAD_BYTES
from tests.support.factories import make_csv
from tests.support.stack import Embedded, wait_for

LIMIT = 3_000_000  # above what Django keeps in memory, so that files go to disk
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    b"Serial Number,Product Name,Input Image Urls\n"
)
ENDING = b"\r\n--b--\r\n"
ROWS = b"1,Chair,https://shop.example/a.jpg\n" * 2000
ERROR = {
    "type": "validation_error",
    "errors": [
        {
            "code": "file_too_large",
            "detail": "The file is larger than the limit of 3 MB.",
            "attr": "file",
        }
    ],
}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which Django keeps incoming uploads."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def service(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    directory = tmp_path_factory.mktemp("data")
    with Embedded(directory, UPLOAD_MAX_BYTES=str(LIMIT), TMPDIR=str(temporary)) as service:
        service.serve()
        yield service


class Upload:
    """An upload by hand, which watches the disk while it sends."""

    def __init__(self, service: Embedded, temporary: Path, path: str, *headers: str) -> None:
        self.sent = 0
        self.largest = 0
        self._service = service
        self._temporary = temporary
        self._socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{service.port}", *headers]
        lines += ["Content-Type: multipart/form-data; boundary=b", "Connection: close"]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def send(self, pieces: Iterator[bytes]) -> None:
        """Send until all is sent or the service does not want to hear any more."""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                self.sent += len(piece)
                self.largest = max(self.largest, self._bytes_on_disk())
        except ConnectionError:
            pass

    def files(self) -> list[Path]:
        return list(self._temporary.glob("*.upload*"))

    def _bytes_on_disk(self) -> int:
        """Return the files that the service has open in the folder, those without a name included."""
        sizes: dict[int, int] = {}
        for process in self._service.processes:
            for descriptor in Path("/proc").glob(f"{process.pid}/task/*/children"):
                for pid in (str(process.pid), *descriptor.read_text().split()):
                    sizes |= self._open_files(pid)
        return sum(sizes.values())

    def _open_files(self, pid: str) -> dict[int, int]:
        """Sizes of open files of a process by inode."""
        sizes = {}
        for descriptor in Path("/proc", pid, "fd").glob("*"):
            with suppress(FileNotFoundError):  # closed since
                if descriptor.readlink().is_relative_to(self._temporary):
                    sizes[descriptor.stat().st_ino] = descriptor.stat().st_size
        return sizes

    def hang_up(self) -> None:
        """Send nothing more, as somebody does who has gone."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[int, bytes]:
        """Status and body."""
        received = b""
        with self._socket:
            while data := self._socket.recv(65_536):
                received += data
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


@pytest.mark.parametrize("path", ["/api/requests/", "/upload", "/api/upload"])
def test_what_announces_too_much_is_refused_before_anything_is_sent(
    service: Embedded, temporary: Path, path: str
) -> None:
    upload = Upload(service, temporary, path, "Content-Length: 10000000000")
    status, body = upload.answer()
    assert status == 400
    assert json.loads(body) == ERROR


def test_what_is_a_little_too_large_is_refused_and_leaves_nothing_behind(
    service: Embedded, temporary: Path
) -> None:
    data = FORM + ROWS * (LIMIT // len(ROWS) + 1) + ENDING
    upload = Upload(service, temporary, "/upload", f"Content-Length: {len(data)}")
    upload.send(iter([data]))
    status, body = upload.answer()
    assert (status, json.loads(body)) == (400, ERROR)
    wait_for(lambda: not upload.files(), "the file is removed")


def endless_form() -> Iterator[bytes]:
    yield FORM
    yield from repeat(ROWS)


def test_an_upload_without_end_is_cut_off_at_the_limit(service: Embedded, temporary: Path) -> None:
    upload = Upload(service, temporary, "/upload", "Transfer-Encoding: chunked")
    upload.send(chunked(endless_form()))
    assert 0 < upload.largest <= 2 * LIMIT + FORM_OVERHEAD_BYTES + 2**20  # the body, and the file in it
    wait_for(lambda: not upload.files(), "the file is removed")


def test_an_upload_in_chunks_that_is_too_large_is_answered_in_words(
    service: Embedded, temporary: Path
) -> None:
    upload = Upload(service, temporary, "/api/requests/", "Transfer-Encoding: chunked")
    upload.send(chunked(iter([FORM, *[ROWS] * (LIMIT // len(ROWS) + 5)])))
    status, body = upload.answer()
    assert (status, json.loads(body)) == (400, ERROR)


def test_an_upload_in_chunks_within_the_limit_is_taken(service: Embedded, temporary: Path) -> None:
    data = make_csv((1, "Chair", ""), (2, "Table", ""))
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + data + ENDING
    upload = Upload(service, temporary, "/upload", "Transfer-Encoding: chunked")
    upload.send(chunked(form[place : place + 10] for place in range(0, len(form), 10)))
    upload.send(iter([b"0\r\n\r\n"]))
    status, body = upload.answer()
    assert status == 201
    assert [product["product_name"] for product in json.loads(body)["products"]] == ["Chair", "Table"]


def test_an_upload_that_breaks_off_is_not_taken(service: Embedded, temporary: Path) -> None:
    data = FORM + ROWS
    upload = Upload(service, temporary, "/upload", f"Content-Length: {len(data) + 1000}")
    upload.send(iter([data]))
    upload.hang_up()
    assert upload.answer()[0] == 400


def test_several_files_share_the_limit(service: Embedded) -> None:
    half = ROWS * (LIMIT // len(ROWS) // 2 + 1)
    with service.client() as client:
        answer = client.post("/upload", files=[("file", ("a.csv", half)), ("more", ("b.csv", half))])
    assert (answer.status_code, answer.json()) == (400, ERROR)


def test_people_get_a_page_that_says_so(service: Embedded, temporary: Path) -> None:
    with service.client() as client:
        form = client.get("/").text
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[0]
        large = ROWS * (LIMIT // len(ROWS) + 1)
        answer = client.post("/", data={"csrfmiddlewaretoken": token}, files={"file": ("a.csv", large)})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "The file is larger than the limit of 3 MB." in answer.text
