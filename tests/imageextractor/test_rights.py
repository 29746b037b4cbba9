"""Permissions: every call that changes something, by every kind of user.

The calls are those of the URL resolver. One without a line in the table fails the run.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import Client

from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from products.models import Request
from tests.imageextractor.test_routes import GROUP, OWN, TOTALS, WITH_ID, Anns
from tests.support.factories import client_of, make_csv, make_user

pytestmark = pytest.mark.django_db

UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]
#: A call that needs no permission, since it acts on what belongs to whoever calls it.
FOR_ONESELF = "for oneself"
#: Nobody but the owner, who alone may also see it.
PRIVATE = "private"
#: Everybody who may see it, since it makes a row of whoever calls it.
SEEN = "seen"
#: Staff with this permission; for an owner, it is not enough to be that.
PUBLISH = "publish"
#: Nobody but the owner, since the answer has a secret. Others may see the object.
SECRET = "secret"

PK = "(?P<pk>[^/.]+)"
CALLS = {
    **{
        ("POST", route): FOR_ONESELF
        for route in (
            "",
            "drafts/hosts/",
            "drafts/sample/",
            "drafts/start/",
            "upload",
            "api/upload",
            "webhooks/",
            "profiles/",
            "feeds/",
        )
    },
    **{("POST", f"api/{name}/"): FOR_ONESELF for name in ("webhooks", "profiles", "feeds")},
    **{("POST", f"api/requests{part}"): FOR_ONESELF for part in ("", "/", "/preview/", "/trial/")},
    **{("POST", f"account/{part}/"): FOR_ONESELF for part in ("tokens", "password", "mail")},
    ("PUT", "account/password/"): FOR_ONESELF,
    ("POST", "account/tokens/<int:pk>/revoke/"): PRIVATE,
    ("POST", "drafts/<uuid:pk>/"): PRIVATE,
    ("POST", "drafts/<uuid:pk>/discard/"): PRIVATE,
    ("POST", "requests/bulk/"): FOR_ONESELF,
    ("POST", "requests/<uuid:pk>/retry/"): "change_request",
    ("POST", "requests/<uuid:pk>/cancel/"): "change_request",
    ("POST", "requests/<uuid:pk>/details/"): "change_request",
    ("POST", "requests/<uuid:pk>/repeat/"): "change_request",
    **{
        ("POST", f"requests/<uuid:pk>/failures/{part}"): "change_request"
        for part in ("", "replace/", "corrections/", "<uuid:image>/")
    },
    ("POST", "requests/<uuid:pk>/delete/"): "delete_request",
    ("POST", "requests/<uuid:pk>/share/"): "change_request",
    ("POST", f"api/requests/{PK}/share/"): "change_request",
    ("DELETE", f"api/requests/{PK}/share/"): "change_request",
    ("POST", f"api/requests/{PK}/retry/"): "change_request",
    ("POST", f"api/requests/{PK}/cancel/"): "change_request",
    ("DELETE", f"api/requests/{PK}/"): "delete_request",
    ("PATCH", f"api/requests/{PK}/"): "change_request",
    **{
        ("POST", f"api/requests/{PK}/{part}/"): "change_request"
        for part in ("replace", "corrections", "repeat")
    },
    ("PATCH", f"api/requests/{PK}/images/(?P<image_id>[^/]+)/"): "change_request",
    ("POST", "requests/<uuid:pk>/profile/"): "change_request",
    ("POST", "profiles/<uuid:pk>/"): "change_profile",
    ("POST", "profiles/<uuid:pk>/copy/"): SEEN,
    ("POST", "profiles/<uuid:pk>/delete/"): "delete_profile",
    ("POST", "profiles/<uuid:pk>/publish/"): PUBLISH,
    **{("POST", f"feeds/<uuid:pk>/{part}"): "change_feed" for part in ("", "run/", "rotate/", "confirm/")},
    **{("POST", f"feeds/<uuid:pk>/{part}/"): "change_feed" for part in ("pause", "resume")},
    ("POST", "feeds/<uuid:pk>/delete/"): "delete_feed",
    **{("POST", f"api/feeds/{PK}/{part}/"): "change_feed" for part in ("run", "rotate", "confirm")},
    ("PUT", f"api/feeds/{PK}/"): "change_feed",
    ("PATCH", f"api/feeds/{PK}/"): "change_feed",
    ("DELETE", f"api/feeds/{PK}/"): "delete_feed",
    ("PUT", f"api/profiles/{PK}/"): "change_profile",
    ("PATCH", f"api/profiles/{PK}/"): "change_profile",
    ("DELETE", f"api/profiles/{PK}/"): "delete_profile",
    ("POST", "webhooks/<uuid:pk>/"): "change_webhookendpoint",
    **{
        ("POST", f"webhooks/<uuid:pk>/{part}/"): "change_webhookendpoint"
        for part in ("test", "enable", "disable")
    },
    ("POST", "webhooks/<uuid:pk>/rotate/"): SECRET,
    ("POST", "webhooks/<uuid:pk>/replay/"): "change_webhookdelivery",
    ("POST", "webhooks/<uuid:pk>/delete/"): "delete_webhookendpoint",
    ("POST", "deliveries/<uuid:pk>/redeliver/"): "change_webhookdelivery",
    ("PUT", f"api/webhooks/{PK}/"): "change_webhookendpoint",
    ("PATCH", f"api/webhooks/{PK}/"): "change_webhookendpoint",
    ("DELETE", f"api/webhooks/{PK}/"): "delete_webhookendpoint",
    ("POST", f"api/webhooks/{PK}/test/"): "change_webhookendpoint",
    ("POST", f"api/webhooks/{PK}/rotate/"): SECRET,
    ("POST", f"api/webhooks/{PK}/replay/"): "change_webhookdelivery",
    ("POST", f"api/deliveries/{PK}/redeliver/"): "change_webhookdelivery",
}
#: The rights that each of the admin's actions takes.
ADMIN_ACTIONS = {
    (Request, "retry"): "change_request",
    (Request, "cancel"): "change_request",
    (Request, "rename"): "change_request",
    (Request, "repeat"): "change_request",
    (Request, "prune"): "delete_request",
    (Request, "resend"): "change_webhookdelivery",
    (WebhookEndpoint, "enable"): "change_webhookendpoint",
    (WebhookEndpoint, "disable"): "change_webhookendpoint",
    (WebhookDelivery, "redeliver"): "change_webhookdelivery",
}
SHOWN = ("request", "profile", "feed", "webhookendpoint", "webhookdelivery")
#: Everything that a page or a call may need to be accepted.
BODY = {
    "url": "https://shop.example/changed",
    "events": ["request.completed"],
    "status": "failed",
    **{"serial": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]},
    **{"quality": 50, "format": "jpeg", "step": "start"},
    **{"time_zone": "UTC", "when_unchanged": "run"},
    **{"profile_name": "Spring", "ready_made": "amazon"},
    **{"action": "retry", "find": "a.jpg", "replacement": "b.jpg", "preview": "1"},
}
#: Bodies of calls that refuse fields they do not know, by the last part of their address.
BODIES: dict[str, dict[str, Any]] = {
    **{"retry": {}, "cancel": {}, "repeat": {}, "replace": {"find": "a.jpg", "replace": "b.jpg"}},
    **{"<image_id>": {"ignored": True}, "<pk>": {"name": "Spring"}},
}
ACCEPTED = {200, 201, 202, 204, 302}


def staff(name: str, *permissions: str, is_staff: bool = True) -> User:
    """Return a user, a member of staff unless said otherwise, with these permissions."""
    user = make_user(name, is_staff=is_staff)
    granted = Permission.objects.filter(codename__in=permissions)
    assert granted.count() == len(permissions)
    user.user_permissions.set(granted)
    return user


def people(anns: Anns) -> dict[str, User]:
    """Return a user of each kind by its name."""
    return {
        "owner": anns.user,
        "other user": make_user("eve"),
        "staff without rights": staff("nora"),
        "staff who may view": staff("vera", *(f"view_{name}" for name in SHOWN)),
        "staff who may change": staff("carl", *(f"change_{name}" for name in SHOWN)),
        "staff who may view and delete": staff(
            "dora", *(f"{action}_{name}" for action in ("view", "delete") for name in SHOWN)
        ),
        "user with permissions who is not staff": staff(
            "nick", *(f"change_{name}" for name in SHOWN), is_staff=False
        ),
        "superuser": make_user("root", is_staff=True, is_superuser=True),
    }


def expected(kind: str, user: User, right: str) -> int:
    """Return the status of a refusal, or 0 where the call is accepted."""
    if kind == "owner":
        return 403 if right == PUBLISH else 0
    sees = kind not in {"other user", "user with permissions who is not staff"}
    if right == PRIVATE or not sees:
        return 404
    if right == SECRET:
        return 403
    if right == SEEN:
        return 0
    right = "change_profile" if right == PUBLISH else right
    apps = {"request": "products", "profile": "products", "feed": "feeds"}
    app = apps.get(right.rpartition("_")[2], "webhooks")
    return 0 if user.has_perm(f"{app}.{right}") else 403


def call(client: Client, anns: Anns, method: str, route: str) -> Any:
    """Return the answer to a call with a body that its owner may send."""
    path = anns.path(route)
    if path.startswith("/api/") and method != "DELETE" and "upload" not in path:
        if "corrections" in path and method == "POST":
            return client.post(path, {"file": ContentFile(make_csv(), "corrected.csv")})
        wanted = {name: BODY[name] for name in ("url", "status") if name == "status" or "webhooks" in path}
        last = re.sub(r"\(\?P(<\w+>)[^)]*\)", r"\1", route).rstrip("/").rpartition("/")[2]
        if "requests" in path or "profiles" in path:
            wanted = BODIES.get(last, wanted)
        if "feeds" in path:
            wanted = {"name": "Spring", "url": BODY["url"]}
        return client.generic(method, path, json.dumps(wanted), "application/json")
    if method == "POST":
        picture = {"image": [str(anns.failed.pk)], "file": ContentFile(make_csv(), "corrected.csv")}
        return client.post(path, BODY | (picture if "/failures/" in path else {}))
    return client.generic(method, path)


@contextmanager
def undone() -> Iterator[None]:
    """Undo all changes of rows in the block."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def anns(db: None) -> Anns:
    found = Anns()
    found.delivery.status, found.delivery.next_attempt_at = "failed", None
    found.delivery.save()
    return found


def test_every_call_that_changes_something_has_a_line(anns: Anns) -> None:
    owner, before = client_of(anns.user), anns.state()
    for route in OWN:
        refused = {405, *{"account/password/": {404}, TOTALS: {403}}.get(route, ())}
        for method in UNSAFE:
            if (method, route) not in CALLS:
                answer = call(owner, anns, method, route)
                assert answer.status_code in refused, f"say in CALLS who may {method} {route}"
        assert anns.state() == before, route
    assert {route for _method, route in CALLS} <= set(OWN)


@pytest.mark.needs("more time")
def test_a_call_is_accepted_from_those_who_have_the_right_alone(
    anns: Anns, client: Client, subtests: pytest.Subtests
) -> None:
    users, before = people(anns), anns.state()
    sessions = {kind: client_of(user).cookies for kind, user in users.items()}
    for (method, route), right in CALLS.items():
        with subtests.test(f"{method} {route}"), undone():
            answer = call(client, anns, method, route)
            assert answer.status_code in {302, 401}, "nobody"
            if answer.status_code == 302:
                assert answer.headers["Location"].startswith("/login/")
            for kind, user in users.items():
                asking = Client()
                asking.cookies.load(sessions[kind])
                if right == FOR_ONESELF or not (status := expected(kind, user, right)):
                    with undone():
                        assert_accepted(call(asking, anns, method, route), kind, route, right)
                else:
                    answer = call(asking, anns, method, route)
                    assert answer.status_code == status, kind
                    assert "whsec_" not in answer.content.decode(), kind
            assert anns.state() == before, "a refused call has changed something"


def assert_accepted(answer: Any, kind: str, route: str, right: str) -> None:
    assert not answer.headers.get("Location", "").startswith("/login/"), kind
    if right == FOR_ONESELF:
        refused = {404} if route == "account/password/" else set()  # nobody here has a password
        assert answer.status_code in ACCEPTED | {400} | refused, kind
    else:
        assert answer.status_code in ACCEPTED, (kind, answer.content)
        assert ("whsec_" in answer.content.decode()) == (right == SECRET), kind


@pytest.mark.needs("more time")
def test_staff_see_every_row_other_users_their_own_and_no_page_offers_what_is_refused(
    anns: Anns, subtests: pytest.Subtests
) -> None:
    owner = client_of(anns.user)
    clients = {kind: (user, client_of(user)) for kind, user in people(anns).items()}
    for route in WITH_ID:
        with subtests.test(route):
            path = anns.path(route)
            found = owner.get(path).status_code
            for kind, (user, client) in clients.items():
                answer = client.get(path)
                private = route.startswith(("drafts/", "account/"))
                hidden = expected(kind, user, PRIVATE if private else SECRET) == 404
                assert answer.status_code == (404 if hidden and found != 405 else found), kind
                if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
                    assert_offers_nothing_refused(anns, answer.content.decode(), kind, user)


def assert_offers_nothing_refused(anns: Anns, shown: str, kind: str, user: User) -> None:
    for (method, route), right in CALLS.items():
        if method == "POST" and not route.startswith("api/") and GROUP.search(route) and right != PRIVATE:
            offered = f'action="{anns.path(route)}"' in shown
            assert not (offered and expected(kind, user, right)), (kind, route)


def test_the_admin_follows_the_same_permissions(anns: Anns, subtests: pytest.Subtests) -> None:
    rows: dict[Any, Any] = {
        Request: anns.batch,
        WebhookEndpoint: anns.endpoint,
        WebhookDelivery: anns.delivery,
    }
    before = anns.state()
    clients = {kind: (user, client_of(user)) for kind, user in people(anns).items()}
    for model, row in rows.items():
        lines = {action for one, action in ADMIN_ACTIONS if one is model}
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/{row.pk}/change/"
        with subtests.test(path):
            assert {str(name) for name in admin.site.get_model_admin(model).actions or []} <= lines | {
                "export"
            }
        for kind, (user, client) in clients.items():
            shown = client.get(path).content.decode()
            for action in lines:
                right = ADMIN_ACTIONS[model, action]
                if kind == "owner" or expected(kind, user, right):
                    with subtests.test(f"{kind} {path} {action}"), undone():
                        assert f'value="{action}"' not in shown
                        client.post(path, {"action": action, "_selected_action": [str(row.pk)]})
                        assert anns.state() == before


def test_staff_list_all_rows_and_other_users_their_own(anns: Anns) -> None:
    for kind, user in people(anns).items():
        sees = expected(kind, user, SECRET) != 404
        for path in ("/api/requests/", "/api/profiles/", "/api/feeds/", "/api/webhooks/"):
            assert len(client_of(user).get(path).json()["results"]) == sees, kind
