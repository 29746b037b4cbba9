"""Small pictures of sources, fetched anew for whoever compares one with its output."""

from collections.abc import Iterator
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from PIL import Image as Pillow
from pytest_django import Settings

from products.models import Image
from tests.support.factories import JPEG, client_of, make_user
from tests.support.origin import Answer, Handler, Origin
from tests.support.pages import ingested, settle
from tests.support.parallel import together, wait_until
from tests.support.pictures import cut_out, encoded, photo_jpeg, quarters, rotated_jpeg
from tests.support.weakness import touching, weaken_children

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def reachable_origin(settings: Settings) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]


@pytest.fixture
def ann(db: None) -> User:
    return make_user()


@pytest.fixture
def page(ann: User) -> Client:
    """A client that Ann is logged in with."""
    return client_of(ann)


@pytest.fixture
def gate() -> Iterator[Event]:
    gate = Event()
    yield gate
    gate.set()


def compared(owner: User, url: str) -> str:
    """Return the address of the thumbnail of a completed Image's source."""
    batch = ingested(owner, ("S1", "Chair", url))
    settle(batch, JPEG)
    return reverse("source-thumbnail", args=[batch.images.get().pk])


def is_placeholder(answer: "Answered") -> bool:
    return answer.headers["Content-Type"] == "image/svg+xml" and answer.content.startswith(b"<svg")


def shown(answer: "Answered") -> Pillow.Image:
    assert answer.headers["Content-Type"] == "image/webp"
    return Pillow.open(BytesIO(answer.content))


def test_a_source_is_shown_small_and_kept_by_its_owners_browser(
    page: Client, ann: User, origin: Origin
) -> None:
    answer = page.get(compared(ann, origin.add("/a.jpg", photo_jpeg(1600, 800))))
    assert (shown(answer).format, shown(answer).size) == ("WEBP", (192, 96))
    assert answer.headers["Cache-Control"] == "private, max-age=2592000, immutable"
    assert len(answer.content) < 20_000


def test_it_is_upright_and_transparent_where_the_source_is(page: Client, ann: User, origin: Origin) -> None:
    answer = page.get(compared(ann, origin.add("/turned.jpg", rotated_jpeg(6, quarters(400, 200)))))
    assert shown(answer).size == (96, 192)
    answer = page.get(compared(ann, origin.add("/clear.png", encoded(cut_out(400, 300), "PNG"))))
    assert shown(answer).mode == "RGBA"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404),
        Answer(b"<!doctype html><title>We have moved</title>"),
        Answer(photo_jpeg(300, 200)[:2000]),
        Answer(photo_jpeg(600, 400)),  # more than the 100,000 pixels that are allowed below
        Answer(bytes(1_000_001)),
    ],
    ids=["gone", "page", "broken", "many pixels", "many bytes"],
)
def test_what_cannot_be_shown_is_a_picture_that_says_so_for_a_minute(
    page: Client, ann: User, origin: Origin, settings: Settings, answer: Answer
) -> None:
    settings.IMAGE_MAX_PIXELS, settings.FETCH_MAX_BYTES = 100_000, 1_000_000
    answered = page.get(compared(ann, origin.add("/a.jpg", answer)))
    assert answered.status_code == 200
    assert is_placeholder(answered)
    assert "Not available" in answered.content.decode()
    assert answered.headers["Cache-Control"] == "private, max-age=60"


def test_an_origin_that_drips_is_given_up_soon(
    page: Client, ann: User, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processing.work.source_thumbnail.FETCH_SECONDS", 0.2)
    stalled = Answer(photo_jpeg(), stall_after=1000)
    assert is_placeholder(page.get(compared(ann, origin.add("/a.jpg", stalled))))


def test_a_picture_that_kills_what_decodes_it_kills_nothing_of_ours(
    page: Client, ann: User, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken_children(monkeypatch, tmp_path / "weak")
    assert is_placeholder(page.get(compared(ann, origin.add("/a.jpg", touching("segfault")))))


def test_two_are_fetched_at_once_and_a_third_is_told_to_come_back(
    ann: User, origin: Origin, gate: Event
) -> None:
    def wait(handler: Handler) -> None:
        gate.wait()
        handler.answer(Answer(JPEG))

    path = compared(ann, origin.add("/slow.jpg", wait))

    def third() -> "Answered":
        wait_until(lambda: origin.count("/slow.jpg") == 2)
        answer = client_of(ann).get(path)
        gate.set()
        return answer

    *first, busy = together([*[lambda: client_of(ann).get(path)] * 2, third])
    assert [shown(answer).size for answer in first] == [(32, 24)] * 2
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert is_placeholder(busy)
    assert busy.headers["Cache-Control"] == "no-store"
    assert shown(client_of(ann).get(path)).size == (32, 24)
    assert origin.count("/slow.jpg") == 3


def test_nothing_is_fetched_for_others_nor_for_what_has_no_output(
    page: Client, client: Client, ann: User, origin: Origin
) -> None:
    path = compared(ann, origin.add("/a.jpg", JPEG))
    assert client_of(make_user("bob")).get(path).status_code == 404
    assert page.head(path).status_code == page.post(path).status_code == 405
    Image.objects.update(output_key="", external_url="https://cdn.example/new.jpg")
    assert page.get(path).status_code == 404
    client.logout()
    assert client.get(path).headers["Location"].startswith("/login/")
    assert origin.received == []


def test_staff_see_everybodys_and_under_open_access_whoever_is_there(
    client: Client, ann: User, origin: Origin, settings: Settings
) -> None:
    path = compared(ann, origin.add("/a.jpg", JPEG))
    assert shown(client_of(make_user("boss", is_staff=True)).get(path)).size == (32, 24)
    settings.OPEN_ACCESS = True
    path = compared(make_user("local"), origin.url("/a.jpg"))
    assert shown(client.get(path)).size == (32, 24)
    assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_the_page_shows_both_side_by_side_once_a_comparison_is_opened(
    page: Client, ann: User, origin: Origin
) -> None:
    path = compared(ann, origin.add("/a.jpg", JPEG))
    html = page.get(f"{Image.objects.get().request.get_absolute_url()}products/").content.decode()
    assert f'<img src="{path}" alt="Original picture 1 of row 1" loading="lazy"' in html
    assert "<details open" not in html
    assert origin.received == []
