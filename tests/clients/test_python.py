"""The Python client: against the running service, and against answers that are hard to get from it."""

import csv
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from imageextractor_client import ApiError, Client, InvalidSignature, verify_webhook
from imageextractor_client import client as module
from processing.webhooks.signing import new_secret, signed_headers
from tests.support.factories import make_csv
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import ROOT, Embedded

README = (ROOT / "clients" / "python" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PAGES = ("docs/api.md", "docs/webhooks.md")
SERVICE = pytest.mark.needs("the service in a process of its own")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(tmp_path_factory.mktemp("service"), OPEN_ACCESS="no") as service:
        service.serve()
        yield service


@pytest.fixture
def catalogue(tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue in the current folder: five pictures, of which one is missing at its shop."""
    urls = [origin.add(f"/{number}.jpg", photo_jpeg(160, 120, seed=number)) for number in range(4)]
    rows = [(number, f"Lamp {number}", url) for number, url in enumerate([*urls, origin.url("/missing.jpg")])]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "catalogue.csv"
    path.write_bytes(make_csv(*rows))
    (tmp_path / "not-a-catalogue.csv").write_text("Name,Price\nLamp,1\n")
    return path


@SERVICE
def test_upload_wait_result_pages_and_errors(service: Embedded, catalogue: Path) -> None:
    catalogue = catalogue.rename(catalogue.with_name("spring.csv"))
    with Client(service.url, service.token()) as client:
        assert client.preview(catalogue)["images"]["total"] == 5
        request = client.upload(catalogue, idempotency_key="monday", max_width=80, strict=False).wait(200)
        assert (request.status, request.images.completed, request.images.failed) == (
            "completed_with_errors",
            4,
            1,
        )
        again = client.upload(catalogue, idempotency_key="monday", max_width=80, strict=False)
        assert again.id == request.id
        request.save_result("result.csv")
        with Path("result.csv").open(newline="", encoding="utf-8") as file:
            outputs = [row["Output Image Urls"] for row in csv.DictReader(file)]
        images = list(request.iter_images(status="completed", page_size=2))  # three pages
        assert sorted(image.output_url or "" for image in images) == sorted(filter(None, outputs))
        assert {image.output.width for image in images if image.output} == {80}
        products = list(request.iter_products(page_size=1))
        assert [product.row_number for product in products] == [1, 2, 3, 4, 5]
        error = products[-1].images[0].error
        assert error and error.code == "http_404" and error.detail
        assert [group["code"] for group in request.failures()] == ["http_404"]
        assert request.retry(code="http_404").wait(200).data["run"] == 2
        request.save_images("pictures.zip")
        with zipfile.ZipFile("pictures.zip") as archive:
            assert len(archive.namelist()) == 4
        assert [found.id for found in client.iter_requests(q="spring")] == [request.id]
        with pytest.raises(ApiError) as refused:
            client.upload("not-a-catalogue.csv")
        problem = refused.value.problems[0]
        assert (refused.value.status, problem.code, problem.line) == (400, "missing_column", 1)
        request.delete()
        with pytest.raises(ApiError, match="404"):
            request.refresh()
    with Client(service.url, "ie_wrong") as client, pytest.raises(ApiError, match="401"):
        next(client.iter_requests())


@SERVICE
def test_the_blocks_of_its_page_run(
    service: Embedded, catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for block in BLOCKS:
        text = block.replace("http://127.0.0.1:8000", service.url).replace("ie_…", service.token())
        exec(compile(text, "README", "exec"), names)  # noqa: S102 (our own page)
    shown = capsys.readouterr().out
    assert "completed_with_errors 4 of 5" in shown
    assert "missing.jpg http_404" in shown
    assert "1 None missing_column" in shown
    assert {"result.csv", "import.csv", "pictures.zip"} <= {path.name for path in Path.cwd().iterdir()}
    assert names["receive"]({}, b"{}") == 401


def answers(*given: Any) -> tuple[Client, list[httpx.Request]]:
    """A client that gets these answers one after another, and its requests."""
    left, requests = iter(given), list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return Client("http://service.example", transport=httpx.MockTransport(answer)), requests


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the client has waited, in no time."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


STATE: dict[str, Any] = {"id": "1", "status": "pending", "finished_at": None}
BUSY = httpx.Response(503, headers={"Retry-After": "7"}, json={"errors": []})


def test_an_upload_is_repeated_whole_under_one_key(tmp_path: Path, pauses: list[float]) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(make_csv())
    broken = httpx.ReadError("reset")
    client, requests = answers(broken, BUSY, httpx.Response(502, text="<html>"), STATE)
    request = client.upload(path, strict=True, columns={"images": ["A"]}, base_url=None)
    assert request.status == "pending"
    assert pauses == [1.0, 7.0, 4.0]
    assert len({one.headers["Idempotency-Key"] for one in requests}) == 1
    assert all(path.read_bytes() in one.content for one in requests)
    assert b'"strict"\r\n\r\ntrue' in requests[0].content
    assert b'"columns"\r\n\r\n{"images": ["A"]}' in requests[0].content
    assert b"base_url" not in requests[0].content


def test_what_may_have_been_done_is_not_repeated_but_what_was_refused_is(pauses: list[float]) -> None:
    def retry(*given: Any) -> module.Request:
        return module.Request(answers(*given)[0], dict(STATE)).retry()

    assert retry(BUSY, STATE).id == "1"
    with pytest.raises(httpx.ReadError):
        retry(httpx.ReadError("reset"), STATE)
    with pytest.raises(ApiError, match="502"):
        retry(httpx.Response(502, text="<html>"), STATE)
    with pytest.raises(ApiError) as last:
        retry(*[BUSY] * 5, STATE)
    assert last.value.status == 503 and last.value.problems
    assert pauses == [7.0] * 5


def test_waiting_ends_with_its_time_and_says_how_far_it_is(pauses: list[float]) -> None:
    done = STATE | {"status": "completed", "finished_at": "2026-01-02T03:04:05Z"}
    client, _ = answers(STATE, STATE, done)
    seen: list[str] = []
    request = module.Request(client, dict(STATE)).wait(on_progress=lambda one: seen.append(one.status))
    assert seen == ["pending", "pending", "completed"]
    assert request.finished_at and request.finished_at.year == 2026
    with pytest.raises(TimeoutError, match="not finished within 0 seconds"):
        module.Request(client, dict(STATE)).wait(timeout=0)


def test_a_page_is_asked_for_where_the_first_one_was() -> None:
    pages = (
        {"results": [STATE], "next": "https://public.example/api/requests/?cursor=x%3D"},
        {"results": [STATE], "next": None},
    )
    client, requests = answers(*pages)
    assert len(list(client.iter_requests(status="pending"))) == 2
    assert [str(one.url) for one in requests] == [
        "http://service.example/api/requests/?status=pending",
        "http://service.example/api/requests/?cursor=x%3D",
    ]


def test_a_download_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"Serial Number"
        raise httpx.ReadError("reset")

    client, _ = answers(httpx.Response(200, content=broken()), httpx.Response(404, json={}))
    for error in (httpx.ReadError, ApiError):
        with pytest.raises(error):
            module.Request(client, dict(STATE)).save_result(tmp_path / "result.csv")
        assert list(tmp_path.iterdir()) == []


# --- Webhooks ---

SECRET = new_secret()
BODY = '{"type": "test", "data": {"id": "1", "name": "Möbel"}}'.encode()


def headers(*secrets: str, seconds_ago: int = 0) -> dict[str, str]:
    return signed_headers(secrets, "msg_1", int(time.time()) - seconds_ago, BODY)


def test_a_signature_of_the_service_is_valid_also_beside_that_of_a_rotated_secret() -> None:
    for given in (headers(SECRET), headers(new_secret(), SECRET)):
        assert verify_webhook(SECRET, given, BODY)["data"]["name"] == "Möbel"
        assert verify_webhook(SECRET, httpx.Headers(given), BODY)["type"] == "test"
        assert verify_webhook(SECRET, {name.title(): value for name, value in given.items()}, BODY)


@pytest.mark.parametrize(
    "change",
    [
        lambda given: {},
        lambda given: headers(new_secret()),
        lambda given: headers(SECRET, seconds_ago=400),
        lambda given: headers(SECRET, seconds_ago=-400),
        lambda given: given | {"webhook-id": "msg_2"},
        lambda given: given | {"webhook-timestamp": "soon"},
        lambda given: given | {"webhook-signature": "v1,ü"},
        lambda given: given | {"webhook-signature": ""},
    ],
)
def test_any_other_message_is_refused(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, change(headers(SECRET)), BODY)
    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, headers(SECRET), BODY + b" ")


def test_a_secret_that_is_none_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify_webhook("whsec_ä", headers(SECRET), BODY)
