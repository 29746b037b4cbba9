import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_dramatiq.models import Task

from processing.timing import DEAD_AFTER
from processing.workers.models import Worker
from products.accounts.authentication import local_user
from products.accounts.models import ApiToken
from products.admin.base import CappedPaginator
from products.models import Image, Product, Profile, Rendition, Request
from tests.support.factories import client_of, ingest, make_csv, make_user, settle, submit

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

PICTURE = bytes(100_000)  # what it becomes; it was twice as large
REQUESTS = "/admin/products/request/"
PROFILES = "/admin/products/profile/"
IMAGES = "/admin/products/image/"
PRODUCTS = "/admin/products/product/"
TOKENS = "/admin/accounts/apitoken/"
WORKERS = "/admin/processing/worker/"


@pytest.fixture
def boss() -> Client:
    """A client that a superuser is logged in with."""
    return client_of(User.objects.create_superuser("boss"))


def staff_with(*permissions: str) -> Client:
    user = make_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return client_of(user)


def settled(owner: User, *outcomes: bytes | str) -> Request:
    """A request with an image for each outcome: a picture, or the code of a failure."""
    urls = [f"https://shop.example/{number}.jpg" for number in range(len(outcomes))]
    batch = submit(owner, make_csv(*[(number, f"Product {number}", url) for number, url in enumerate(urls)]))
    return settle(ingest(batch), dict(zip(urls, outcomes, strict=True)))


def body(answer: "Answer") -> str:
    return " ".join(answer.content.decode().split())


def act(client: Client, action: str, *batches: Request, **data: Any) -> "Answer":
    form = {"action": action, "_selected_action": [b.pk for b in batches], **data}
    return client.post(REQUESTS, form, follow=True)


def detail(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def everything(owner: User) -> list[Model]:
    batch = ingest(submit(owner))
    ApiToken.objects.issue(owner)
    return [
        *(batch, Image.objects.get(), Product.objects.get()),
        *(ApiToken.objects.get(), Worker.objects.create(host="one", pid=7)),
    ]


def test_only_staff_get_in(client: Client, ann: User) -> None:
    client.force_login(ann)
    for path in (REQUESTS, IMAGES, PRODUCTS, TOKENS, WORKERS):
        assert client.get(path).headers["Location"].startswith("/admin/login/")


def test_every_list_and_every_row_can_be_looked_at_and_nothing_edited(boss: Client, ann: User) -> None:
    for row in everything(ann):
        path = detail(row)
        assert boss.get(path.partition(str(row.pk))[0]).status_code == 200
        assert boss.get(path).status_code == 200
        assert 'name="_save"' not in body(boss.get(path))
        assert boss.post(path, {}).status_code == 403
        if not isinstance(row, ApiToken):
            assert (
                boss.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_add")).status_code
                == 403
            )


def test_profiles_are_found_by_owner_and_published_ones_filtered(boss: Client, ann: User) -> None:
    shop = Profile.objects.create(owner=ann, name="Shop", options={"quality": 70}, header=["SKU", "<b>"])
    common = Profile.objects.create(owner=make_user("bob"), name="Common", is_published=True)
    submit(ann, profile=shop)
    found = {
        query: [
            name for name in ("Shop", "Common") if f">{name}</a>" in body(boss.get(f"{PROFILES}?{query}"))
        ]
        for query in ("", "q=ann", "q=Common", "is_published__exact=1")
    }
    assert found == {
        "": ["Shop", "Common"],
        "q=ann": ["Shop"],
        "q=Common": ["Common"],
        "is_published__exact=1": ["Common"],
    }
    page = body(boss.get(detail(shop)))
    assert f'href="{shop.get_absolute_url()}"' in page and "quality: 70" in page and "&lt;b&gt;" in page
    requests = f"{REQUESTS}?profile__id__exact={shop.pk}"
    assert f'<a href="{requests}">1</a>' in page
    assert "catalogue.csv" in body(boss.get(requests))
    assert 'name="_save"' not in page and boss.post(detail(common), {}).status_code == 403


def test_nothing_but_a_token_can_be_deleted(boss: Client, ann: User) -> None:
    rows = everything(ann)
    codes = {
        type(row): boss.post(f"{detail(row)[: -len('change/')]}delete/", {"post": "yes"}).status_code
        for row in rows
    }
    assert codes == {Request: 403, Image: 403, Product: 403, ApiToken: 302, Worker: 403}
    assert not ApiToken.objects.exists()


def test_a_token_is_shown_without_its_hash(boss: Client, ann: User) -> None:
    key = ApiToken.objects.issue(ann)
    token = ApiToken.objects.get()
    for shown in (body(boss.get(TOKENS)), body(boss.get(detail(token)))):
        assert token.hint in shown
        assert token.digest not in shown
        assert key not in shown


def test_a_new_token_is_shown_once_and_works(boss: Client, ann: User) -> None:
    answer = boss.post(f"{TOKENS}add/", {"user": ann.pk, "name": "nightly job"})
    (key,) = re.findall(r"<code>(ie_[\w-]{43})</code>", body(answer))
    token = ApiToken.objects.get()
    assert (token.user, token.name) == (ann, "nightly job")
    assert ApiToken.objects.lookup(key) == token
    everywhere = [
        boss.get(path) for path in (TOKENS, detail(token), f"{TOKENS}{token.pk}/history/", "/admin/")
    ]
    assert key[8:] not in "".join(map(body, everywhere))
    assert key not in str(boss.cookies)


# --- Users ---


def link_of(answer: "Answer") -> str:
    (link,) = re.findall(r"<code>http://[^/]+(/account/setup/[^<]+)</code>", body(answer))
    return str(link)


def choose_password(link: str) -> "Answer":
    client = Client()
    form = client.get(link, follow=True)
    address, _status = form.redirect_chain[-1]
    return client.post(address, dict.fromkeys(("new_password1", "new_password2"), "correct horse battery"))


def test_a_new_colleague_chooses_a_password_behind_a_link(boss: Client) -> None:
    answer = boss.post("/admin/auth/user/add/", {"username": "eve", "email": "eve@shop.example"})
    eve = User.objects.get(username="eve")
    assert (eve.email, eve.has_usable_password(), eve.is_staff) == ("eve@shop.example", False, False)
    link = link_of(answer)
    assert choose_password(link).status_code == 302
    assert Client().login(username="eve", password="correct horse battery")
    assert Client().get(link).status_code == 404
    assert Client().get("/admin/").status_code == 302


def test_a_name_that_differs_in_case_only_is_refused(boss: Client) -> None:
    make_user("eve")
    answer = boss.post("/admin/auth/user/add/", {"username": "Eve"})
    assert "A user with that username already exists." in body(answer)


def test_a_colleague_who_forgot_the_password_gets_a_link(boss: Client) -> None:
    eve = make_user("eve", password="forgotten since")
    path = f"/admin/auth/user/{eve.pk}/change/"
    assert "Create link to set a password" in body(boss.get(path))
    assert choose_password(link_of(boss.post(path, {"action": "link"}))).status_code == 302
    assert Client().login(username="eve", password="correct horse battery")
    assert "Created a link to set a password." in body(boss.get(f"/admin/auth/user/{eve.pk}/history/"))


def test_only_who_may_change_users_makes_links() -> None:
    path = f"/admin/auth/user/{make_user('eve').pk}/change/"
    client = staff_with("view_user")
    assert "Create link" not in body(client.get(path))
    assert client.post(path, {"action": "link"}).status_code == 403


@pytest.mark.parametrize("right", ["is_superuser", "is_staff"])
def test_only_a_superuser_changes_staff(right: str) -> None:
    other = User.objects.create_user("other", password="a long password")
    User.objects.update(**{right: True})
    path = f"/admin/auth/user/{other.pk}"
    client = staff_with("view_user", "change_user", "delete_user")
    assert client.post(f"{path}/change/", {"action": "link"}).status_code == 403
    assert client.post(f"{path}/change/", {"username": "mine"}).status_code == 403
    assert client.get(f"{path}/password/").status_code == 403
    assert client.post(f"{path}/delete/", {"post": "yes"}).status_code == 403


def test_only_a_superuser_gives_rights() -> None:
    eve = User.objects.create_user("eve")
    client = staff_with("view_user", "change_user")
    wanted = {"username": "eve", "email": "eve@shop.example", "is_active": "on"}
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    rights = {"is_staff": "on", "is_superuser": "on"}
    assert client.post(f"/admin/auth/user/{eve.pk}/change/", wanted | dates | rights).status_code == 302
    eve.refresh_from_db()
    assert (eve.email, eve.is_staff, eve.is_superuser) == ("eve@shop.example", False, False)


def test_users_who_cannot_log_in_get_no_link(boss: Client) -> None:
    for user in (local_user(), User.objects.create_user("eve", is_active=False)):
        path = f"/admin/auth/user/{user.pk}/change/"
        assert "Create link" not in body(boss.get(path))
        assert boss.post(path, {"action": "link"}).status_code == 403


def test_the_permissions_of_a_user_are_folded_away(boss: Client) -> None:
    page = body(boss.get(f"/admin/auth/user/{make_user('eve').pk}/change/"))
    before, _, permissions = page.partition("<details>")
    assert 'name="is_staff"' in before and 'name="user_permissions"' not in before
    assert 'name="user_permissions"' in permissions


# --- Tokens ---


def test_only_who_may_add_tokens_can_issue_one(ann: User) -> None:
    client = staff_with("view_apitoken")
    assert client.get(f"{TOKENS}add/").status_code == 403
    assert client.post(f"{TOKENS}add/", {"user": ann.pk, "name": ""}).status_code == 403
    assert not ApiToken.objects.exists()


def test_only_who_may_delete_tokens_can_revoke_one(ann: User) -> None:
    ApiToken.objects.issue(ann)
    path = f"{TOKENS}{ApiToken.objects.get().pk}/delete/"
    assert staff_with("view_apitoken").post(path, {"post": "yes"}).status_code == 403
    assert ApiToken.objects.exists()


def test_a_request_is_listed_with_its_owner_counts_and_savings(boss: Client, ann: User) -> None:
    settled(ann, PICTURE, PICTURE, "http_404")
    shown = body(boss.get(REQUESTS))
    assert '<td class="field-owner nowrap">ann</td>' in shown
    assert '<td class="field-done">2 / 3</td>' in shown
    assert '<td class="field-failed">1 (33.3%)</td>' in shown
    assert '<td class="field-saved">195.3 KB</td>' in shown


def test_requests_are_found_by_file_name_and_owner(boss: Client, ann: User) -> None:
    submit(ann, name="chairs.csv")
    submit(make_user("bob"), name="tables.csv")
    for wanted, found in (("chairs", "chairs.csv"), ("bob", "tables.csv")):
        answer = boss.get(REQUESTS, {"q": wanted})
        assert [batch.filename for batch in answer.context["cl"].result_list] == [found]


def test_hostile_names_are_text(boss: Client, ann: User) -> None:
    row = ("<b>1</b>", "<script>alert(2)</script>", "javascript:alert(3)")
    batch = ingest(submit(ann, make_csv(row), "<script>alert(1).csv"))
    paths = [REQUESTS, PRODUCTS, IMAGES, *map(detail, (batch, Product.objects.get(), Image.objects.get()))]
    shown = "".join(body(boss.get(path)) for path in paths)
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in shown
    for hostile in ("<script>alert", "<b>1", 'href="javascript'):
        assert hostile not in shown


def test_a_request_leads_to_its_images_and_products(boss: Client, ann: User) -> None:
    batch, other = settled(ann, PICTURE, "dns"), settled(ann, PICTURE)
    shown = body(boss.get(detail(batch))).replace("&amp;", "&")
    for path, count in (
        (f"{IMAGES}?request__id__exact={batch.pk}", 2),
        (f"{IMAGES}?request__id__exact={batch.pk}&status__exact=failed", 1),
        (f"{PRODUCTS}?request__id__exact={batch.pk}", 2),
    ):
        assert f'href="{path}"' in shown
        listed = boss.get(path).context["cl"].result_list
        assert len(listed) == count
        assert other not in {row.request for row in listed}


def test_a_finished_image_leads_to_its_output(boss: Client, ann: User) -> None:
    settled(ann, PICTURE)
    image = Image.objects.get()
    assert f'<a href="{image.output_url}">{image.output_url}</a>' in body(boss.get(detail(image)))


def test_a_finished_image_leads_to_its_renditions(boss: Client, ann: User) -> None:
    settled(ann, PICTURE)
    image = Image.objects.get()
    facts = {"bytes": 2048, "width": 60, "height": 40, "format": "webp"}
    thumb = Rendition.objects.create(pk=uuid4(), image=image, name="thumb", key="images/ab/ab.webp", **facts)
    shown = f'<div>thumb: <a href="{thumb.path}">webp, 60 × 40, 2.0 KB</a></div>'
    assert shown in body(boss.get(detail(image)))


def test_a_product_shows_its_status_and_leads_to_its_images(boss: Client, ann: User) -> None:
    settled(ann, "dns")
    shown = body(boss.get(detail(Product.objects.get())))
    assert f'<a href="{detail(Image.objects.get())}">https://shop.example/0.jpg</a>: Failed' in shown


@pytest.mark.parametrize("path", [IMAGES, PRODUCTS])
def test_rows_are_found_by_their_id_or_their_requests(boss: Client, ann: User, path: str) -> None:
    batch, other = settled(ann, PICTURE, "dns"), settled(ann, PICTURE)
    row = (other.images if path == IMAGES else other.products).get()

    def found(wanted: str) -> int:
        return len(boss.get(path, {"q": wanted}).context["cl"].result_list)

    assert [found(text) for text in (str(batch.pk), f" {row.pk} ", "shop", "")] == [2, 1, 0, 3]


@pytest.mark.parametrize("path", [IMAGES, PRODUCTS])
def test_lists_of_rows_come_in_the_order_of_an_index(boss: Client, ann: User, path: str) -> None:
    ingest(submit(ann))
    with CaptureQueriesContext(connection) as queries:
        shown = body(boss.get(path))
    table = "products_image" if path == IMAGES else "products_product"
    number = "number" if path == IMAGES else "row_number"
    lists = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
    assert len(lists) == 2  # the count and the rows
    orders = {sql.partition(" ORDER BY ")[2].partition(" LIMIT ")[0] for sql in lists}
    assert orders == {f'"{table}"."request_id" ASC, "{table}"."{number}" ASC'}
    assert "?o=" not in shown


def test_rows_are_counted_only_so_far(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(ann, PICTURE, PICTURE, PICTURE)
    monkeypatch.setattr("products.admin.base.COUNTED_ROWS", 2)
    assert CappedPaginator(Image.objects.order_by("number"), 1).count == 2


def test_retry_tries_again_what_failed_in_each_selected_request(boss: Client, ann: User) -> None:
    first, second, third = settled(ann, PICTURE, "dns"), settled(ann, "dns", "dns"), settled(ann, "dns")
    answer = act(boss, "retry", first, second)
    assert "Retrying 3 images." in body(answer)
    runs = dict(Request.objects.values_list("pk", "run"))
    assert runs == {first.pk: 2, second.pk: 2, third.pk: 1}


def test_cancel_stops_each_selected_request(boss: Client, ann: User) -> None:
    active, finished = ingest(submit(ann)), settled(ann, PICTURE)
    assert "Cancel these requests?" in body(act(boss, "cancel", active, finished))
    active.refresh_from_db()
    assert active.is_active
    assert "Canceled 1 request." in body(act(boss, "cancel", active, finished, confirmed="yes"))
    active.refresh_from_db()
    assert active.status == Request.Status.CANCELED


def test_a_request_is_renamed_and_gets_a_note(boss: Client, ann: User) -> None:
    batch, other = settled(ann, PICTURE), settled(ann, PICTURE)
    assert 'name="note"' in body(act(boss, "rename", batch))
    changed = {"name": "Spring", "note": "For the fair", "confirmed": "yes"}
    assert "Select a single request" in body(act(boss, "rename", batch, other, **changed))
    assert "at most 200 characters" in body(act(boss, "rename", batch, **changed | {"name": 201 * "x"}))
    assert "Saved." in body(act(boss, "rename", batch, **changed))
    assert list(Request.objects.values_list("name", "note").order_by("created_at")) == [
        ("Spring", "For the fair"),
        ("", ""),
    ]


def test_a_request_is_run_again_with_other_options_for_its_owner(boss: Client, ann: User) -> None:
    batch = settled(ann, PICTURE)
    assert 'name="quality" value="50"' in body(act(boss, "repeat", batch))
    options = {"quality": "70", "format": "webp", "max_width": "800", "confirmed": "yes"}
    assert "Use a whole number from 1 to 95, or auto." in body(
        act(boss, "repeat", batch, **options | {"quality": "96"})
    )
    assert "This is a new request with the same file." in body(act(boss, "repeat", batch, **options))
    again = Request.objects.exclude(pk=batch.pk).get()
    assert (again.owner, again.run_by) == (ann, "repeat")
    assert (again.quality, again.format, again.max_width, again.max_height) == (70, "webp", 800, None)


def test_the_actions_need_the_right_to_change_a_request(ann: User) -> None:
    batch = ingest(submit(ann))
    client = staff_with("view_request")
    assert 'value="cancel"' not in body(client.get(REQUESTS))
    act(client, "cancel", batch, confirmed="yes")
    batch.refresh_from_db()
    assert batch.is_active
    User.objects.filter(username="staff").delete()
    act(staff_with("view_request", "change_request"), "cancel", batch, confirmed="yes")
    batch.refresh_from_db()
    assert not batch.is_active


def test_workers_are_listed_with_whether_they_live(boss: Client) -> None:
    living = Worker.objects.create(host="one", pid=7)
    Worker.objects.create(host="two", pid=8, seen_at=living.seen_at - DEAD_AFTER)
    shown = body(boss.get(WORKERS))
    alive = [part.partition('alt="')[2].partition('"')[0] for part in shown.split("field-alive")[1:]]
    assert alive == ["True", "False"]


def test_the_brokers_own_table_is_not_shown() -> None:
    assert not admin.site.is_registered(Task)


def test_dates_are_written_as_on_the_site_and_no_size_is_shown_before_a_picture_is_done(boss: Client) -> None:
    batch = ingest(submit(make_user(), make_csv()))
    Request.objects.update(created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    shown = body(boss.get(REQUESTS))
    assert "2 January 2026, 03:04" in shown
    assert "0 bytes" not in shown
    assert "0 bytes" not in body(boss.get(f"{REQUESTS}{batch.pk}/change/"))
