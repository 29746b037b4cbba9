"""Submitting a catalogue: its signal, and idempotency keys."""

from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from products import lifecycle
from products.catalogue import CatalogueError
from products.models import Request
from tests.support.factories import URL, client_of, ingest, make_csv, make_user, stored_catalogues
from tests.support.parallel import together

pytestmark = pytest.mark.django_db


def post_once(client: Client, data: bytes, key: str, **options: Any) -> Any:
    body = {"file": SimpleUploadedFile("catalogue.csv", data), **options}
    return client.post("/api/requests/", body, headers={"Idempotency-Key": key})


def submit_file(owner: User, data: bytes, **options: Any) -> tuple[Request, bool]:
    return lifecycle.submit(owner, ContentFile(data, "catalogue.csv"), **options)


# --- The signal ---


def test_each_new_request_is_announced_once(ann: User, sent: list[str]) -> None:
    first, is_new = submit_file(ann, make_csv(), idempotency_key="order-7")
    assert (is_new, sent) == (True, ["request_submitted"])

    assert submit_file(ann, make_csv(), idempotency_key="order-7") == (first, False)
    with pytest.raises(lifecycle.IdempotencyConflict):
        submit_file(ann, make_csv((1, "Table", URL)), idempotency_key="order-7")
    assert sent == ["request_submitted"]

    submit_file(ann, make_csv())
    assert sent == ["request_submitted"] * 2


def test_a_refused_file_is_neither_stored_nor_announced(ann: User, sent: list[str]) -> None:
    before = stored_catalogues()
    with pytest.raises(CatalogueError):
        submit_file(ann, b"")
    assert not Request.objects.exists()
    assert stored_catalogues() == before
    assert sent == []


# --- Idempotency keys ---


def test_the_same_key_and_body_answer_the_first_request_again(api: Client) -> None:
    before = stored_catalogues()
    first, second = (post_once(api, make_csv(), "order-7", quality=60) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert Request.objects.count() == 1
    assert len(stored_catalogues() - before) == 1


@pytest.mark.parametrize(
    ("data", "options"),
    [(make_csv((1, "Table", URL)), {}), (make_csv(), {"quality": 60}), (make_csv(), {"strict": "true"})],
    ids=["another file", "another quality", "strict"],
)
def test_the_same_key_with_another_body_is_a_conflict(
    api: Client, data: bytes, options: dict[str, Any]
) -> None:
    post_once(api, make_csv(), "order-7")
    before = stored_catalogues()
    response = post_once(api, data, "order-7", **options)
    assert response.status_code == 409
    assert response.json() == {
        "type": "client_error",
        "errors": [
            {
                "code": "idempotency_conflict",
                "detail": "This Idempotency-Key was already used for a different file or different options.",
                "attr": None,
            }
        ],
    }
    assert Request.objects.count() == 1
    assert stored_catalogues() == before


def test_another_user_may_use_the_same_key(api: Client) -> None:
    first = post_once(api, make_csv(), "order-7")
    second = post_once(client_of(make_user("bob")), make_csv((1, "Table", URL)), "order-7")
    assert second.status_code == 201
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": ""}])
def test_without_a_key_each_upload_is_a_new_request(api: Client, headers: dict[str, str]) -> None:
    for _ in range(2):
        body = {"file": SimpleUploadedFile("catalogue.csv", make_csv())}
        assert api.post("/api/requests/", body, headers=headers).status_code == 201
    assert Request.objects.count() == 2


def test_the_key_of_a_deleted_request_may_be_used_again(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", 1)
    first = ingest(submit_file(ann, make_csv(), idempotency_key="order-7")[0])
    assert lifecycle.delete(first)
    assert Request.objects.filter(pk=first.pk).exists(), "its rows are not all deleted yet"
    second, is_new = submit_file(ann, make_csv(), idempotency_key="order-7")
    assert is_new
    assert second.pk != first.pk


def test_a_key_that_is_too_long_is_refused(api: Client) -> None:
    response = post_once(api, make_csv(), "k" * 256)
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["attr"] == "Idempotency-Key"
    assert not Request.objects.exists()


def test_a_key_of_255_characters_works(api: Client) -> None:
    assert [post_once(api, make_csv(), "k" * 255).status_code for _ in range(2)] == [201, 200]


@pytest.mark.django_db(transaction=True)
def test_two_simultaneous_uploads_with_the_same_key_make_one_request(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage: Storage = Request._meta.get_field("source").storage
    save, both_are_saving = storage.save, Barrier(2, timeout=60)

    def save_beside_the_other(*args: Any, **options: Any) -> str:
        both_are_saving.wait()  # so neither has found the other's row
        return save(*args, **options)

    monkeypatch.setattr(storage, "save", save_beside_the_other)
    before = stored_catalogues()
    answers = together([partial(post_once, api, make_csv(), "order-7")] * 2)
    assert sorted(answer.status_code for answer in answers) == [200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    (kept,) = stored_catalogues() - before
    assert kept.name == Request.objects.get().source.name
