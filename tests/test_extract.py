"""`manage.py extract` as a process: its sources, results, exit statuses and what an interrupt leaves."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.support import fork_server
from tests.support.environment import command_environment
from tests.support.jobs import as_csv
from tests.support.origin import Answer, Handler, Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import ROOT, Embedded, wait_for

pytestmark = pytest.mark.needs("the service in a process of its own")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return command_environment(tmp_path)


def command(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, ROOT / "manage.py", "extract", *arguments]


def extract(
    environment: dict[str, str], *arguments: str | Path, stdin: bytes = b"", cwd: Path = ROOT
) -> subprocess.CompletedProcess[bytes]:
    program = [str(ROOT / "manage.py"), "extract", *map(str, arguments)]
    return fork_server.run(program, cwd=cwd, env=environment, stdin=stdin)


def catalogue(origin: Origin, *names: str) -> bytes:
    """A catalogue with a row for each picture; those of other names than *.jpg are not there."""
    rows = []
    for number, name in enumerate(names, 1):
        if name.endswith(".jpg"):
            origin.add(f"/{name}", photo_jpeg(60, 40, seed=number))
        rows.append([f"SN-{number}", f"Lamp {number}", origin.url(f"/{name}")])
    return as_csv(rows)


def rows_of(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_standard_input_to_standard_output(origin: Origin, environment: dict[str, str]) -> None:
    data = catalogue(origin, "a.jpg", "gone")
    for arguments in (["-"], ["-", "-o", "-"]):
        done = extract(environment, *arguments, stdin=data)
        assert done.returncode == 1, done.stderr
        header, first, second = rows_of(done.stdout)
        assert header[-3:] == ["Output Image Urls", "Status", "Error"]
        assert (first[4], second[4]) == ("completed", "failed")
        assert "1 × http_404: Picture not found (404)" in done.stderr.decode()


def test_a_file_to_standard_output_and_from_a_pipe(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(catalogue(origin, "a.jpg"))
    done = extract(environment, source, "-o", "-")
    assert (done.returncode, len(rows_of(done.stdout))) == (0, 2)
    assert [path.name for path in tmp_path.glob("a.*")] == ["a.csv"]
    piped = extract(environment, "/dev/stdin", "-o", "-", stdin=source.read_bytes())
    assert (piped.returncode, rows_of(piped.stdout)) == (0, rows_of(done.stdout))


def test_a_url_is_fetched_through_redirects_and_names_the_result(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    data = catalogue(origin, "a.jpg")
    moved = origin.add("/feeds/spring%20lamps.csv", Answer(status=302, headers={"Location": "/new"}))
    origin.add("/new", data)
    done = extract(environment, f"{moved}?key=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows_of((tmp_path / "spring lamps.result.csv").read_bytes())[1][4] == "completed"
    nameless = extract(environment, origin.add("/", data), cwd=tmp_path)
    assert nameless.returncode == 0
    assert (tmp_path / "catalogue.result.csv").exists()


def test_a_url_is_fetched_from_public_addresses_only(origin: Origin, environment: dict[str, str]) -> None:
    del environment["FETCH_ALLOWED_NETWORKS"]
    done = extract(environment, origin.add("/a.csv", catalogue(origin, "a.jpg")), "-o", "-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert "127.0.0.1 is in a private network" in done.stderr.decode()
    assert origin.received == []


def test_a_source_that_cannot_be_read_ends_with_2(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["UPLOAD_MAX_BYTES"] = "1000"
    large = b"x" * 1001
    for source, stdin, sentence in (
        (tmp_path / "none.csv", b"", "No such file or directory"),
        (tmp_path, b"", "Is a directory"),
        ("/", b"", "Is a directory"),
        (origin.url("/gone.csv"), b"", "127.0.0.1 answered 404 Not Found."),
        (origin.add("/large.csv", large), b"", "sent more than 0.001 MB"),
        ("https://", b"", "names no host"),
        ("-", large, "larger than the limit of 1 KB"),
        ("-", b"", "empty"),
    ):
        done = extract(environment, source, "-o", tmp_path / "out.csv", stdin=stdin)
        shown = done.stderr.decode()
        assert done.returncode == 2, shown
        assert sentence in shown and "Traceback" not in shown
    assert not (tmp_path / "out.csv").exists()
    assert extract(environment).returncode == 2
    assert extract(environment, "-", "--style", "pretty").returncode == 2


def test_anything_else_that_fails_ends_with_3(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    data = catalogue(origin, "a.jpg")
    (tmp_path / "file").touch()
    for option, path in (("-o", tmp_path / "none" / "out.csv"), ("--images", tmp_path / "file")):
        done = extract(environment, "-", option, path, stdin=data)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr.decode()
    assert extract(environment | {"PUBLIC_URL": "shop"}, "-", stdin=data).returncode == 3
    Path(environment["DATA_DIR"], "db.sqlite3").write_bytes(b"no database" * 1000)
    assert extract(environment, "-", stdin=data).returncode == 3


def test_a_reader_of_standard_output_that_goes_is_one_message(
    origin: Origin, environment: dict[str, str]
) -> None:
    data, (reading, writing) = catalogue(origin, "a.jpg"), os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command("-"),
            env=environment,
            input=data,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=200,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 3
    assert done.stderr.decode().splitlines()[-1] == "CommandError: standard output: Broken pipe"


def test_styles_of_the_result(origin: Origin, environment: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(catalogue(origin, "a.jpg", "gone"))
    shown: dict[str, list[list[str]]] = {}
    for style in ("result", "replace", "failed", "changes"):
        assert extract(environment, source, "--style", style).returncode == 1
        shown[style] = rows_of((tmp_path / f"a.{style}.csv").read_bytes())
    output = shown["result"][1][3]
    assert [row[2] for row in shown["replace"]] == ["Input Image Urls", output, origin.url("/gone")]
    assert [row[0] for row in shown["failed"]] == ["Serial Number", "SN-2"]
    assert [row[:2] for row in shown["changes"][1:]] == [
        ["unchanged", origin.url("/a.jpg")],
        ["failing", origin.url("/gone")],
    ]
    assert extract(environment, source, "--excel").returncode == 1
    assert (tmp_path / "a.result.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_pictures_in_a_folder_are_named_by_serial_number(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "pictures"
    folder.mkdir(parents=True)
    (folder / "SN-1-1.jpg").write_bytes(b"of an earlier run")
    (folder / "other.txt").touch()
    data = catalogue(origin, "a.jpg", "b.jpg", "gone")
    done = extract(environment, "-", "--images", folder, stdin=data)
    assert done.returncode == 1
    assert sorted(path.name for path in folder.iterdir()) == ["SN-1-1.jpg", "SN-2-1.jpg", "other.txt"]
    for row in rows_of(done.stdout)[1:3]:
        stored = Path(environment["DATA_DIR"], urlsplit(row[3]).path.lstrip("/"))
        copy = folder / f"{row[0]}-1.jpg"
        assert copy.read_bytes() == stored.read_bytes()
        assert Image.open(copy).size == (60, 40)
    assert f"pictures: 2 in {folder}" in done.stderr.decode()


def test_the_end_says_that_the_urls_open_while_a_service_runs(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    data, public = catalogue(origin, "a.jpg"), {"PUBLIC_URL": "https://pictures.example"}
    done = extract(environment | public, "-", stdin=data)
    shown = done.stderr.decode()
    assert "begin with https://pictures.example and open only while a service runs there" in shown
    assert "--images DIR" in shown
    assert b"https://pictures.example/media/images/" in done.stdout


class Gate:
    """An answer that waits, once asked for, until it is opened."""

    def __init__(self, body: bytes) -> None:
        self.asked, self.open, self._body = Event(), Event(), body

    def __call__(self, handler: Handler) -> None:
        self.asked.set()
        self.open.wait()
        handler.answer(Answer(self._body))


@contextmanager
def interrupted(environment: dict[str, str], gate: Gate, *arguments: str | Path) -> Iterator[list[str]]:
    """Interrupt `extract` while it waits for the gate, and yield what it shows at its end."""
    with subprocess.Popen(
        command(*arguments), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert gate.asked.wait(100)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=200)
    gate.open.set()
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    yield shown.splitlines()


def test_the_same_command_goes_on_after_an_interrupt(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(catalogue(origin, "a.jpg", "b.jpg", "slow.jpg"))
    gate = Gate(photo_jpeg(60, 40, seed=9))
    origin.add("/slow.jpg", gate)
    with interrupted(environment, gate, source) as shown:
        assert "Within 24 hours the same command goes on where this one stopped" in shown[-1]
    assert not (tmp_path / "a.result.csv").exists()

    done = extract(environment, source)

    assert done.returncode == 0, done.stderr
    assert "Going on with the unfinished request" in done.stderr.decode()
    assert [row[4] for row in rows_of((tmp_path / "a.result.csv").read_bytes())[1:]] == ["completed"] * 3
    # Finished now: the next one is a request of its own.
    assert "Going on" not in extract(environment, source).stderr.decode()


def test_force_starts_anew(origin: Origin, environment: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(catalogue(origin, "slow.jpg"))
    gate = Gate(photo_jpeg(60, 40, seed=9))
    origin.add("/slow.jpg", gate)
    with interrupted(environment, gate, source, "--force") as shown:
        assert shown[-1].startswith("Canceled.")
    done = extract(environment, source, "--force")
    assert done.returncode == 0
    assert "Going on" not in done.stderr.decode()


def test_an_interrupt_beside_a_service_only_stops_following(origin: Origin, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(catalogue(origin, "slow.jpg"))
    gate = Gate(photo_jpeg(60, 40, seed=9))
    origin.add("/slow.jpg", gate)
    data = tmp_path / "data"
    data.mkdir()
    with Embedded(data) as service:
        service.serve()
        with interrupted(service.environment, gate, source) as shown:
            assert "Stopped following. The work goes on" in shown[-1]

        def is_completed() -> bool:
            return service.query("SELECT status FROM products_request") == [("completed",)]

        wait_for(is_completed, "the service completes the request")
    assert origin.count("/slow.jpg") == 1
