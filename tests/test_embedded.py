"""The main job without any service: `manage.py extract` and `manage.py serve`, as processes of their own."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openpyxl
import pytest
from PIL import Image

from tests.support import fork_server
from tests.support.environment import command_environment
from tests.support.origin import Answer, Origin
from tests.support.pictures import photo_jpeg, rgba_png, rotated_jpeg, truncated
from tests.support.stack import ROOT, Embedded, wait_for

pytestmark = pytest.mark.needs("the service in a process of its own")

HEADER = ["Serial Number", "Product Name", "Input Image Urls"]


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return command_environment(tmp_path)


def extract(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return fork_server.run_text(["manage.py", "extract", *map(str, arguments)], env=environment)


def picture_of(environment: dict[str, str], url: str) -> Image.Image:
    """The stored file that an output URL names, opened by a reader that knows nothing of how it was made."""
    picture = Image.open(Path(environment["DATA_DIR"]) / urlsplit(url).path.lstrip("/"))
    picture.load()
    return picture


def catalogue_of_100_rows(origin: Origin) -> list[list[str]]:
    """Ordinary rows with shared pictures and commas in URLs, and six that have something special."""
    shared = origin.add("/shared.jpg", photo_jpeg(300, 200, seed=1))
    rows = []
    for number in range(94):
        own = origin.add(f"/w_300,h_200/{number}.jpg", photo_jpeg(300, 200, seed=100 + number))
        rows.append([str(number), f"Lamp {number}", f"{own}, {shared}"])
    rows += [
        ["missing", "404", origin.url("/gone.jpg")],
        ["page", "HTML", origin.add("/page.jpg", b"<!doctype html><title>Sold out</title>")],
        ["clear", "RGBA", origin.add("/clear.png", rgba_png())],
        ["cut", "truncated", origin.add("/cut.jpg", truncated(photo_jpeg(300, 200, seed=2)))],
        ["turned", "rotated", origin.add("/turned.jpg", rotated_jpeg(6))],
        ["mixed", "one of two", f"{shared}, {origin.url('/gone.jpg')}"],
    ]
    return rows


def test_extract_does_the_whole_job_for_a_real_catalogue(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    rows = catalogue_of_100_rows(origin)
    source, output = write_csv(tmp_path / "lamps.csv", rows), tmp_path / "out.csv"

    done = extract(environment, source, "-o", output)

    assert done.returncode == 1, done.stderr
    result = read_csv(output)
    assert result[0] == [*HEADER, "Output Image Urls", "Status", "Error"]
    assert [row[:3] for row in result[1:]] == rows
    outcome = {row[0]: row[3:] for row in result[1:]}
    for number in range(94):
        urls, status, error = outcome[str(number)]
        assert (status, error) == ("completed", "")
        assert [picture_of(environment, url).size for url in urls.split(", ")] == [(300, 200)] * 2
    assert outcome["missing"][:2] == ["", "failed"] and "404" in outcome["missing"][2]
    assert outcome["page"][:2] == ["", "failed"] and "web page" in outcome["page"][2]
    assert outcome["cut"][:2] == ["", "failed"] and "incomplete" in outcome["cut"][2]
    assert picture_of(environment, outcome["clear"][0]).mode == "RGB"
    stored = Image.open(io.BytesIO(origin_body(origin, "/turned.jpg")))
    assert picture_of(environment, outcome["turned"][0]).size == stored.size[::-1]
    urls, status, error = outcome["mixed"]
    assert urls.split(", ")[1] == "" and status == "completed_with_errors" and "404" in error

    assert all(origin.count(target) == 1 for target in {request.target for request in origin.received})
    assert origin.count("/shared.jpg") == 1  # 95 rows show it


def origin_body(origin: Origin, path: str) -> bytes:
    answer = origin.routes[path]
    assert isinstance(answer, Answer)
    return answer.body


def test_extract_prints_plain_lines_where_there_is_no_terminal(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    url = origin.add("/a.jpg", photo_jpeg(60, 40, seed=1))
    done = extract(environment, write_csv(tmp_path / "a.csv", [["1", "Lamp", url]]))

    assert done.returncode == 0, done.stderr
    assert "1 of 1 images done, 0 failed" in done.stderr.splitlines()
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert read_csv(tmp_path / "a.result.csv")[1][4] == "completed"


def test_extract_draws_a_bar_in_a_terminal(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    url = origin.add("/a.jpg", photo_jpeg(60, 40, seed=1))
    source = write_csv(tmp_path / "a.csv", [["1", "Lamp", url]])
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command: list[str | Path] = [sys.executable, "manage.py", "extract", source]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=its
    ) as process:
        os.close(its)
        shown = b""
        while chunk := read_terminal(ours):
            shown += chunk
    os.close(ours)

    assert process.returncode == 0
    assert re.search(rb"100%.*\b1/1\b", shown)
    assert b"images done" not in shown


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_extract_reads_a_file_as_it_is_told_to(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    origin.add("/p/a.jpg", photo_jpeg(60, 40, seed=1))
    origin.add("/p/b.jpg", photo_jpeg(60, 40, seed=2))
    source, output = tmp_path / "a.csv", tmp_path / "out.csv"
    source.write_bytes("Artikel;Имя;Foto;Name\n1;Лампа;/a.jpg,b.jpg;x\n".encode("cp1251"))
    columns = json.dumps({"serial": "Artikel", "name": "имя", "images": ["Foto"]})
    options = ["--encoding", "windows-1251", "--columns", columns, "--base-url", origin.url("/p")]

    done = extract(environment, source, "-o", output, *options)

    assert done.returncode == 0, done.stderr
    header, row = csv.reader(io.StringIO(output.read_bytes().decode("cp1251"), newline=""), delimiter=";")
    assert header == ["Artikel", "Имя", "Foto", "Name", "Output Image Urls", "Status", "Error"]
    assert row[:4] == ["1", "Лампа", "/a.jpg,b.jpg", "x"]
    assert [picture_of(environment, url).size for url in row[4].split(",")] == [(60, 40)] * 2


def test_extract_reads_the_sheet_that_is_named(
    origin: Origin, environment: dict[str, str], tmp_path: Path
) -> None:
    origin.add("/a.jpg", photo_jpeg(60, 40, seed=1))
    origin.add("/b.jpg", photo_jpeg(80, 50, seed=2))
    book = openpyxl.Workbook()
    for sheet, name in ((book.worksheets[0], "a"), (book.create_sheet("Spring"), "b")):
        for row in (HEADER, [name, name, origin.url(f"/{name}.jpg")]):
            sheet.append(list(row))
    source, output = tmp_path / "a.xlsx", tmp_path / "out.csv"
    book.save(source)
    for sheet, size in (("Spring", (80, 50)), ("1", (60, 40))):
        done = extract(environment, source, "-o", output, "--sheet", sheet)
        assert done.returncode == 0, done.stderr
        _header, row = read_csv(output)
        assert picture_of(environment, row[3]).size == size
    done = extract(environment, source, "-o", output, "--sheet", "Summer")
    assert done.returncode == 2
    assert "There is no sheet “Summer”." in done.stderr


def test_extract_refuses_an_option_that_makes_no_sense(environment: dict[str, str]) -> None:
    done = extract(environment, "a.csv", "--columns", "{")
    assert done.returncode == 2
    assert "argument --columns: " in done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "empty"), (b"Name,Price\nLamp,1\n", "No column with picture URLs")]
)
def test_extract_refuses_with_status_2_and_the_reason(
    environment: dict[str, str], tmp_path: Path, content: bytes, sentence: str
) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(content)
    done = extract(environment, source)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "a.result.csv").exists()
    assert not list(Path(environment["DATA_DIR"]).glob("uploads/*"))


def test_extract_says_when_the_result_cannot_be_written(
    environment: dict[str, str], tmp_path: Path, origin: Origin
) -> None:
    """A folder that has the name of the result, which is written last."""
    source = write_csv(tmp_path / "a.csv", [["1", "Lamp", origin.add("/a.jpg", photo_jpeg(32, 24))]])
    (tmp_path / "result.csv" / "inside").mkdir(parents=True)
    done = extract(environment, source, "-o", tmp_path / "result.csv")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert f"{tmp_path / 'result.csv'}: Is a directory" in done.stderr
    assert not (tmp_path / "result.csv.part").exists()


def test_strict_refuses_a_bad_cell_and_names_its_line(environment: dict[str, str], tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "a.csv", [["1", "Lamp", "https://example.com/a.jpg"], ["2", "Lamp", "a.jpg"]]
    )
    done = extract(environment, source, "--strict")

    assert done.returncode == 2
    assert "line 3" in done.stderr


def test_the_earlier_systems_calls_work_on_loopback_without_a_login(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.jpg", photo_jpeg(60, 40, seed=1))
    text = f"Serial Number,Product Name,Input Image Urls\n7,Lamp,{url}\n"
    with Embedded(tmp_path) as service:
        service.serve()
        upload = json.loads(curl(f"{service.url}/upload", "-F", "file=@-;filename=catalogue.csv", text=text))
        status_url = f"{service.url}/status/{upload['request_id']}"

        def completed() -> dict[str, Any] | None:
            state: dict[str, Any] = json.loads(curl(status_url))
            return state if state["status"] == "completed" else None

        (product,) = wait_for(completed, "the request completes")["products"]
        assert product["id"] == upload["products"][0]["id"]
        assert (product["serial_number"], product["input_image_urls"]) == ("7", url)
        picture = Image.open(io.BytesIO(httpx.get(product["output_image_urls"]).content))
        assert (picture.format, picture.size) == ("JPEG", (60, 40))


def curl(url: str, *options: str, text: str = "") -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", *options, url],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
