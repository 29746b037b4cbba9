"""Requests that are shared by a link: what whoever has it sees, and until when."""

import csv
import io
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files import File
from django.core.files.storage import default_storage
from django.test import Client
from PIL import Image as Pillow

from products.models import Image, Request
from tests.support.factories import client_of, make_user
from tests.support.pages import HTMX, PICTURE, address, body, ingested, pictures, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(db: None) -> Request:
    batch = ingested(make_user("ann"), *pictures(2))
    settle(batch, PICTURE, "dns")
    return batch


@pytest.fixture
def owner(batch: Request) -> Client:
    return client_of(batch.owner)


def share(owner: Client, batch: Request) -> str:
    answer = owner.post(f"/api/requests/{batch.pk}/share/")
    assert answer.status_code == 200
    url: str = answer.json()["url"]
    return url


def test_whoever_has_the_link_sees_progress_products_and_downloads(
    owner: Client, batch: Request, client: Client
) -> None:
    url = share(owner, batch)
    path = url[url.index("/share/") :]
    answer = client.get(path)
    assert answer.headers["X-Robots-Tag"] == "noindex"
    shown = body(answer)
    assert "1 of 2 pictures failed" in shown
    assert '<th scope="row">S1</th>' in shown
    assert "Actions" not in shown and "<form" not in shown.partition("<main")[2].partition("</main>")[0]
    result = b"".join(client.get(f"{path}results.csv").streaming_content)  # type: ignore[attr-defined]
    assert len(list(csv.DictReader(io.StringIO(result.decode())))) == 2
    assert client.get(f"{path}images.zip").status_code == 200
    assert client.post(path).status_code == 405


def test_a_shared_page_shows_small_pictures_and_says_why_others_failed(
    owner: Client, batch: Request, client: Client
) -> None:
    with io.BytesIO() as file:
        Pillow.new("RGB", (640, 480)).save(file, "JPEG")
        key = default_storage.save("images/shown.jpg", File(io.BytesIO(file.getvalue())))
    completed, failed = batch.images.order_by("number")
    batch.images.filter(pk=completed.pk).update(output_key=key)
    path = share(owner, batch).partition("/share/")[2]
    shown = body(client.get(f"/share/{path}"))
    (small,) = re.findall(r'<img src="([^"]+)"', shown)
    answer = client.get(small)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert f'<p class="problem">{failed.error_detail}</p>' in shown
    assert client.get(small.replace(str(completed.pk), str(failed.pk))).status_code == 404
    other = settled_elsewhere()
    assert client.get(small.replace(str(completed.pk), str(other.pk))).status_code == 404
    owner.delete(f"/api/requests/{batch.pk}/share/")
    assert client.get(small).status_code == 404


def settled_elsewhere() -> Image:
    """A completed picture of a Request that is not shared."""
    batch = ingested(make_user("eve"), *pictures(1))
    settle(batch, PICTURE)
    return batch.images.get()


def test_a_link_stays_the_same_until_it_ends_and_never_works_again(
    owner: Client, batch: Request, client: Client
) -> None:
    url = share(owner, batch)
    assert share(owner, batch) == url
    path = url[url.index("/share/") :]
    assert client.get(path).status_code == 200
    assert owner.delete(f"/api/requests/{batch.pk}/share/").status_code == 204
    assert client.get(path).status_code == 404
    assert share(owner, batch) != url
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("key", ["x", "-", "_" * 22])
def test_a_wrong_key_and_a_request_that_is_not_shared_are_not_found(
    owner: Client, batch: Request, client: Client, key: str
) -> None:
    assert client.get(f"/share/{batch.pk}/{key}/").status_code == 404
    share(owner, batch)
    for part in ("", "results.csv", "images.zip"):
        assert client.get(f"/share/{batch.pk}/{key}/{part}").status_code == 404


def test_a_request_is_shared_and_unshared_on_its_page(owner: Client, batch: Request) -> None:
    owner.post(address("request-share", batch))
    batch.refresh_from_db()
    assert batch.share_url in body(owner.get(address("request", batch)))
    shown = body(owner.get(address("request", batch)))
    beside = shown.partition('<div class="card copies">')[2].partition("</div>")[0]
    assert batch.share_url in beside and "The link works until you stop sharing." in beside
    assert 'name="stop" value="1">Stop sharing</button>' in beside
    owner.post(address("request-share", batch), {"stop": "1"})
    batch.refresh_from_db()
    assert batch.share_url == ""


def test_strangers_page_through_all_rows_and_do_not_search_them(
    owner: Client, batch: Request, client: Client
) -> None:
    url = share(owner, batch)
    path = url[url.index("/share/") :]
    for query in ("q=S1", "status=failed", "code=dns&host=", "row=1"):
        assert len(client.get(f"{path}?{query}").context["products"]) == 2
    assert [row.row_number for row in client.get(f"{path}?after=1").context["products"]] == [2]


def test_the_page_tells_strangers_nothing_of_its_owner(owner: Client, batch: Request, client: Client) -> None:
    Request.objects.update(note="Ask Bob", name="Spring")
    User.objects.update(email="ann@shop.example", first_name="Annabel")
    url = share(owner, batch)
    path = url[url.index("/share/") :]
    answer = client.get(path)
    shown = body(answer)
    assert "Spring" in shown
    for secret in ("Ask Bob", "ann", "Annabel", "/api/requests/", "/thumbnails/", f"/requests/{batch.pk}"):
        assert not re.search(rf"{re.escape(secret)}\b", shown)
    assert "hx-get" not in shown
    for one in (answer, client.get(f"{path}results.csv"), client.get(f"{path}images.zip")):
        assert one["Cache-Control"] == "no-store"
        assert one["X-Robots-Tag"] == "noindex"
        assert one["Referrer-Policy"] == "same-origin"


def test_staff_who_may_change_requests_end_sharing(owner: Client, batch: Request) -> None:
    url = share(owner, batch)
    staff = make_user("staff", is_staff=True)
    office = client_of(staff)
    assert office.delete(f"/api/requests/{batch.pk}/share/").status_code == 403
    assert office.post(address("request-share", batch), {"stop": "1"}).status_code == 403
    assert url not in body(office.get(address("request", batch)))
    staff.user_permissions.add(Permission.objects.get(codename="change_request"))
    assert office.delete(f"/api/requests/{batch.pk}/share/").status_code == 204


def test_others_do_not_share(batch: Request) -> None:
    bob = client_of(make_user("bob"))
    assert bob.post(f"/api/requests/{batch.pk}/share/").status_code == 404
    assert bob.post(address("request-share", batch)).status_code == 404


def test_an_open_page_asks_no_more_after_sharing_has_stopped(
    owner: Client, batch: Request, client: Client
) -> None:
    url = share(owner, batch)
    path = url[url.index("/share/") :]
    batch.refresh_from_db()
    batch.unshare()
    answer = client.get(path, headers=HTMX)
    assert (answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == ("#main", "innerHTML")
    assert "No longer shared" in body(answer)
    assert "hx-get" not in body(answer) and "<a " not in body(answer)
    assert client.get(path).status_code == 404
