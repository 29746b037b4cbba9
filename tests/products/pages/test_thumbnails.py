"""Small pictures of outputs, for whoever may see their Request."""

from io import BytesIO
from threading import BoundedSemaphore
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError
from django.contrib.auth.models import User
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import Client
from django.urls import reverse
from PIL import Image as Pillow

from processing.storage.outputs import store
from products.models import Image
from products.pages import thumbnail
from tests.support.factories import client_of, make_user
from tests.support.pages import ingested, settle
from tests.support.pictures import cut_out, encoded, photo_jpeg

pytestmark = pytest.mark.django_db


def completed(owner: User, data: bytes) -> Image:
    batch = ingested(owner)
    settle(batch, data)
    return batch.images.get()


def address(image: Image) -> str:
    return reverse("thumbnail", args=[image.pk])


def test_an_output_is_shown_small_and_kept_by_its_owners_browser(page: Client, ann: User) -> None:
    answer = page.get(address(completed(ann, photo_jpeg(1600, 800))))
    picture = Pillow.open(BytesIO(answer.content))
    assert (picture.format, picture.size) == ("WEBP", (192, 96))
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("WEBP", "webp"), ("AVIF", "avif")])
def test_every_format_of_an_output_is_shown_transparent_where_it_is(
    page: Client, ann: User, kind: str, extension: str
) -> None:
    image = completed(ann, photo_jpeg())
    Image.objects.update(output_key=store(encoded(cut_out(400, 300), kind), extension))
    picture = Pillow.open(BytesIO(page.get(address(image)).content))
    assert picture.size == (192, 144)
    assert picture.mode == "RGBA"


def test_a_small_output_stays_as_small_as_it_is(page: Client, ann: User) -> None:
    picture = Pillow.open(BytesIO(page.get(address(completed(ann, photo_jpeg(32, 24)))).content))
    assert picture.size == (32, 24)


def test_it_is_made_once_however_often_it_is_asked_for(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = completed(ann, photo_jpeg(640, 480, seed=5))
    first = page.get(address(image)).content
    default_storage.delete(image.output_key)
    assert page.get(address(image)).content == first


@pytest.mark.parametrize("data", [b"no picture", None])
def test_what_cannot_be_shown_is_not_found(page: Client, ann: User, data: bytes | None) -> None:
    image = completed(ann, data or photo_jpeg(64, 48, seed=9))
    if data is None:
        default_storage.delete(image.output_key)
    assert page.get(address(image)).status_code == 404


def test_a_large_output_is_to_be_asked_for_again_while_too_many_are_made(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnail, "MAX_JPEG_PIXELS_IN_PROCESS", 0)
    path = address(completed(ann, photo_jpeg(64, 48, seed=13)))
    with monkeypatch.context() as full:
        full.setattr(thumbnail, "_large", BoundedSemaphore(1))
        with thumbnail._large:
            answer = page.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert page.get(path).status_code == 200


def test_while_a_picture_comes_from_storage_others_are_shown(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = completed(ann, photo_jpeg(64, 48, seed=10)), completed(ann, photo_jpeg(64, 48, seed=11))
    really_open = FileSystemStorage.open

    def open_slowly(storage: FileSystemStorage, key: str) -> Any:
        if key == slow.output_key:
            assert page.get(address(other)).status_code == 200
        return really_open(storage, key)

    monkeypatch.setattr(FileSystemStorage, "open", open_slowly)
    assert page.get(address(slow)).status_code == 200


def test_a_storage_that_does_not_answer_has_nothing_to_show(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(storage: FileSystemStorage, key: str) -> Any:
        raise EndpointConnectionError(endpoint_url="https://s3.example.com")

    image = completed(ann, photo_jpeg(64, 48, seed=12))
    monkeypatch.setattr(FileSystemStorage, "open", fail)
    assert page.get(address(image)).status_code == 404


def test_others_and_pictures_without_output_are_not_found_and_visitors_asked_to_log_in(
    page: Client, client: Client, ann: User
) -> None:
    image = completed(ann, photo_jpeg())
    assert client_of(make_user("bob")).get(address(image)).status_code == 404
    assert client_of(make_user("boss", is_staff=True)).get(address(image)).status_code == 200
    assert page.get(reverse("thumbnail", args=[uuid4()])).status_code == 404
    assert page.get(address(ingested(ann).images.get())).status_code == 404
    client.logout()
    assert client.get(address(image)).headers["Location"].startswith("/login/")


def test_what_was_made_elsewhere_has_no_thumbnail_and_is_not_hot_linked(page: Client, ann: User) -> None:
    image = completed(ann, photo_jpeg())
    Image.objects.update(output_key="", external_url="https://cdn.example/new.jpg")
    assert page.get(address(image)).status_code == 404
    shown = page.get(f"{image.request.get_absolute_url()}products/").content.decode()
    assert "<img" not in shown
    assert 'href="https://cdn.example/new.jpg"' in shown
