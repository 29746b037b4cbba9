"""Every address there is, tried by nobody and by the wrong user.

The list is the URL resolver's own, so that a new address is tried without being named here; one with an id
has to say whose that is, or the run fails.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from processing.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products import lifecycle
from products.accounts.models import ApiToken
from products.feeds.models import Feed, FeedRun, FeedRunStatus
from products.models import Draft, Image, Product, Profile, Request
from tests.support.factories import JPEG, client_of, ingest, make_csv, make_user, settle, submit

pytestmark = pytest.mark.django_db

MODELS = (
    *(Request, Product, Image, ApiToken, Draft, Profile, Feed, FeedRun),
    *(WebhookEndpoint, WebhookDelivery),
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
SECRET = "annssecret"
#: A source that one of the addresses asks for, and that cannot be had without asking anybody.
INSIDE = "http://127.0.0.1/a.jpg"
GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>")
SHARED_PICTURE = "pictures/<uuid:image>.webp"
#: What strangers may see: nothing in it belongs to anyone. Pictures have addresses that nobody can guess.
PUBLIC = {
    *("login/", "logout/", "admin/login/", "admin/logout/", "admin/password_change/", "healthz", "readyz"),
    *("api/schema/", "api/docs/", "api/docs/<slug:slug>/", "favicon.ico"),
    *("sample/catalogue.csv", "sample/<int:number>.jpg"),
    *(
        "images/<uuid:pk>",
        "images/<uuid:pk>/<slug:name>",
        r"media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+)",
        r"media/(?P<key>images/[0-9a-f]{2}/[0-9a-f]+/[a-z0-9-]+\.[a-z]+)",
    ),
    "feeds/<uuid:pk>/<str:secret>/latest.csv",
    *(f"share/<uuid:pk>/<slug:key>/{part}" for part in ("", "results.csv", "images.zip", SHARED_PICTURE)),
    "trials/<uuid:pk>/<int:number>/<slug:side>.<slug:kind>",  # as pictures, for an hour
    "api/webhook",  # who may call it proves that by a signature
    "account/setup/<uidb64>/<token>/",  # who may open it has read the log
}
#: Sums over everybody's work, for staff and tokens.
TOTALS = "metrics"
#: Parts of pages without anyone's data; 404 unless DEBUG is set.
DESIGN = "design/"
#: A form that shows nothing of whoever fills it in.
PASSWORD = "account/password/"


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """The routes below a resolver as they are written, without the marks of a regular expression's ends."""
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern).removeprefix("^").removesuffix("$").removesuffix(r"\Z")
        if isinstance(entry, URLResolver):
            yield from routes(entry, route)
        elif isinstance(entry, URLPattern):
            yield route


ROUTES = sorted(set(routes(get_resolver())))
ADMIN = [route for route in ROUTES if route.startswith("admin/") and route not in PUBLIC]
OWN = [route for route in ROUTES if route not in {*PUBLIC, *ADMIN}]
WITH_ID = [route for route in OWN if GROUP.search(route)]


@dataclass
class Anns:
    """A user with something of everything, and clients of others."""

    user: User = field(default_factory=make_user)
    bob: Client = field(default_factory=lambda: client_of(make_user("bob")))

    def __post_init__(self) -> None:
        gone = f"{INSIDE}?{SECRET}-gone"
        rows = ((1, f"{SECRET} chair", f"{INSIDE}?{SECRET} {gone}"),)
        self.batch = ingest(submit(self.user, make_csv(*rows), f"{SECRET}.csv"))
        self.batch = settle(self.batch, {f"{INSIDE}?{SECRET}": JPEG, gone: "http_404"})
        self.completed = self.batch.images.get(status="completed")
        self.failed = self.batch.images.get(status="failed")
        self.draft = lifecycle.keep_draft(self.user, ContentFile(make_csv(*rows), f"{SECRET}.csv"))
        self.profile = Profile.objects.create(owner=self.user, name=f"{SECRET} profile")
        address = f"https://shop.example/{SECRET}.csv"
        self.feed = Feed.objects.create(owner=self.user, name=f"{SECRET} feed", url=address)
        self.feed.last_run = self.feed.runs.create(request=self.batch, status=FeedRunStatus.HELD)
        self.feed.save()
        ApiToken.objects.issue(self.user, f"{SECRET} token")
        self.token = ApiToken.objects.get()
        url = f"https://shop.example/{SECRET}"
        self.endpoint = WebhookEndpoint.objects.create(owner=self.user, url=url)
        self.delivery = self.endpoint.deliveries.create(event=Event.TEST, payload=f'{{"{SECRET}": 1}}')

    def path(self, route: str, *, unknown: bool = False) -> str:
        """The address of what Ann has there, or of what nobody has."""
        ids = {
            "requests/": (self.batch.pk, uuid4()),
            "api/requests/": (self.batch.pk, uuid4()),
            "drafts/": (self.draft.pk, uuid4()),
            "thumbnails/": (self.completed.pk, uuid4()),
            "sources/": (self.completed.pk, uuid4()),
            "outputs/": (self.completed.pk, uuid4()),
            "status/": (self.batch.pk, uuid4()),
            "api/status/": (self.batch.pk, uuid4()),
            "account/tokens/": (self.token.pk, self.token.pk + 1),
            "profiles/": (self.profile.pk, uuid4()),
            "api/profiles/": (self.profile.pk, uuid4()),
            "feeds/": (self.feed.pk, uuid4()),
            "api/feeds/": (self.feed.pk, uuid4()),
            "webhooks/": (self.endpoint.pk, uuid4()),
            "api/webhooks/": (self.endpoint.pk, uuid4()),
            "deliveries/": (self.delivery.pk, uuid4()),
            "api/deliveries/": (self.delivery.pk, uuid4()),
        }
        start = route[: match.start()] if (match := GROUP.search(route)) else None
        assert start is None or start in ids, f"say here whose id {route} takes"

        def known_id(match: re.Match[str]) -> str:
            if "image_id" in match.groups() or "image" in match.groups():
                return str(self.failed.pk)
            return str(ids[start or ""][unknown])

        return "/" + GROUP.sub(known_id, route).replace("\\", "")

    def state(self) -> dict[str, list[Any]]:
        """All rows there are, by SQL, since it is asked for hundreds of times."""
        rows: dict[str, list[Any]] = {}
        with connection.cursor() as cursor:
            for table in (model._meta.db_table for model in MODELS):
                cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 (our own)
                rows[table] = sorted(cursor.fetchall(), key=repr)
        return rows


@pytest.fixture
def anns(db: None) -> Anns:
    Worker.objects.create()  # so that nothing waits in vain
    return Anns()


def test_the_lists_are_not_empty() -> None:
    assert {"", "account/", "upload", "api/requests/", "requests/<uuid:pk>/"} <= set(OWN)
    assert r"api/requests/(?P<pk>[^/.]+)/retry/" in WITH_ID
    assert "admin/products/request/<path:object_id>/change/" in ADMIN


def test_nobody_is_asked_to_log_in_whatever_the_method(anns: Anns, client: Client) -> None:
    before = anns.state()
    for route in OWN:
        path = anns.path(route)
        answers = {method: client.generic(method, path) for method in METHODS}
        for method, answer in answers.items():
            case = f"{method} {route}: {answer.status_code}"
            if answer.status_code == 302:
                assert answer.headers["Location"] == f"/login/?next={path}", case
            else:
                assert answer.status_code in {401, 405}, case
            assert SECRET not in answer.content.decode(), case
        assert {answer.status_code for answer in answers.values()} != {405}, route
        assert anns.state() == before, route


def test_what_is_somebody_elses_is_not_found_whatever_the_method(anns: Anns) -> None:
    before = anns.state()
    for route in WITH_ID:
        unknown, codes = anns.path(route, unknown=True), set()
        for method in METHODS:
            answer = anns.bob.generic(method, anns.path(route))
            case = f"{method} {route}: {answer.status_code}"
            assert answer.status_code in {404, 405}, case
            assert answer.status_code == anns.bob.generic(method, unknown).status_code, case
            codes.add(answer.status_code)
        assert 404 in codes, route
        assert anns.state() == before, route


def test_ones_own_is_found_by_at_least_one_method(anns: Anns, subtests: pytest.Subtests) -> None:
    for route in WITH_ID:
        with subtests.test(route), transaction.atomic():
            owner, path = client_of(anns.user), anns.path(route)
            answers = [owner.generic(method, path) for method in ("GET", "POST", "PATCH")]
            transaction.set_rollback(True)
            # 400: what is asked of it is not said. Her catalogue is a CSV, of which there is no workbook.
            has_no_workbook = route.endswith("xlsx") and b"not an XLSX workbook" in answers[0].content
            codes = {one.status_code for one in answers}
            is_for_staff = route == "profiles/<uuid:pk>/publish/" and 403 in codes
            assert has_no_workbook or is_for_staff or codes & {200, 201, 202, 302, 400}


def test_lists_show_nothing_of_somebody_else(anns: Anns) -> None:
    ann = client_of(anns.user)
    for route in set(OWN) - {*WITH_ID, TOTALS, PASSWORD, DESIGN}:
        answer = anns.bob.get(anns.path(route))
        assert answer.status_code in {200, 405}, route
        assert SECRET not in answer.content.decode(), route
        own = ann.get(anns.path(route))
        assert own.status_code == 405 or SECRET in own.content.decode(), route


@pytest.mark.usefixtures("anns")
def test_what_strangers_may_see_shows_nothing_of_anyone(client: Client) -> None:
    for route in PUBLIC - {"logout/", "admin/logout/"}:
        path = "/media/images/00/00.jpg" if route.startswith("media/") else f"/{route}"
        answer = client.get(path)
        assert answer.status_code in {200, 302, 404, 405}, route
        assert SECRET not in answer.content.decode(), route


@pytest.mark.sample("who")
@pytest.mark.parametrize("who", ["nobody", "a user", "staff without rights"])
def test_the_admin_shows_nothing_to_those_who_have_no_right(anns: Anns, client: Client, who: str) -> None:
    staff = client_of(make_user("sue", is_staff=True))
    asking = {"nobody": client, "a user": anns.bob, "staff without rights": staff}[who]
    before = anns.state()
    for route in ADMIN:
        for key in (anns.batch.pk, anns.token.pk, anns.user.pk) if GROUP.search(route) else ("",):
            path = "/" + GROUP.sub(str(key), route)
            for method in ("GET", "POST"):
                answer = asking.generic(method, path)
                case = f"{method} {path}: {answer.status_code}"
                if who == "staff without rights":
                    assert answer.status_code < 500, case
                else:
                    assert answer.status_code == 302, case
                    assert answer.headers["Location"].startswith(("/admin/login/", "/login/")), case
                assert SECRET not in answer.content.decode(), case
        assert anns.state() == before, route


def test_the_admins_link_to_a_row_leads_to_its_page_and_an_id_of_another_type_is_not_found(
    anns: Anns,
) -> None:
    staff = client_of(make_user("sue", is_staff=True))
    kind = ContentType.objects.get_for_model(Request).pk
    assert (
        staff.get(f"/admin/r/{kind}/{anns.batch.pk}/")
        .headers["Location"]
        .endswith(anns.batch.get_absolute_url())
    )
    assert staff.get(f"/admin/r/{kind}/1/").status_code == 404


def test_a_page_that_names_no_icon_has_one(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert answer.status_code == 302
    path = answer.headers["Location"]
    assert finders.find(path.removeprefix(settings.STATIC_URL))
