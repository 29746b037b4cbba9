"""Rows that are deleted after a call has found them: not found, and never an error of the server."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client
from pytest import MonkeyPatch

from processing.webhooks import pages as webhook_pages
from processing.webhooks.models import WebhookEndpoint
from products import lifecycle
from products.api.views import FilteredViewSet
from products.feeds import pages as feed_pages
from products.feeds.models import Feed
from products.models import Profile, Request
from products.models.profile import ProfileQuerySet
from products.pages import profiles as profile_pages
from tests.support.factories import make_csv, submit
from tests.support.feeds import make_feed

pytestmark = pytest.mark.django_db
URL = "https://shop.example/hook"


@pytest.fixture
def rows(ann: User) -> dict[str, Any]:
    """A row of each kind, by the name of its address."""
    return {
        "feeds": make_feed(ann),
        "profiles": Profile.objects.create(owner=ann, name="Shop"),
        "requests": submit(ann),
        "webhooks": WebhookEndpoint.objects.create(owner=ann, url=URL),
    }


def deleted(row: Any) -> Any:
    """The same row, which another call has deleted."""
    type(row).objects.filter(pk=row.pk).delete()
    return row


@pytest.mark.parametrize(
    "call",
    [
        ("feeds", "PATCH", "", {"name": "Summer"}),
        ("feeds", "PATCH", "", {}),
        ("feeds", "POST", "run/", None),
        ("feeds", "POST", "rotate/", None),
        ("feeds", "POST", "confirm/", None),
        ("profiles", "PATCH", "", {"name": "Summer"}),
        ("profiles", "PUT", "", {"name": "Summer", "options": {}}),
        ("requests", "PATCH", "", {"name": "Summer"}),
        ("requests", "POST", "cancel/", None),
        ("requests", "POST", "share/", None),
        ("webhooks", "PATCH", "", {"description": "Summer"}),
        ("webhooks", "PATCH", "", {"enabled": False}),
        ("webhooks", "POST", "rotate/", None),
    ],
)
def test_the_api_answers_404(
    api: Client,
    rows: dict[str, Any],
    monkeypatch: MonkeyPatch,
    call: tuple[str, str, str, dict[str, Any] | None],
) -> None:
    kind, method, action, body = call
    found = FilteredViewSet.get_object
    monkeypatch.setattr(FilteredViewSet, "get_object", lambda view: deleted(found(view)))
    row = rows[kind]
    answer = api.generic(
        method,
        f"/api/{kind}/{row.pk}/{action}",
        "" if body is None else json.dumps(body),
        "application/json",
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "not_found")
    assert not type(row).objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    "call",
    [
        (
            "feeds",
            feed_pages,
            "",
            {"name": "Summer", "url": URL, "time_zone": "UTC", "when_unchanged": "run"},
        ),
        ("feeds", feed_pages, "run/", {}),
        ("feeds", feed_pages, "confirm/", {}),
        ("feeds", feed_pages, "pause/", {}),
        ("feeds", feed_pages, "rotate/", {}),
        ("profiles", profile_pages, "", {"name": "Summer", "quality": "50", "format": "jpeg"}),
        ("webhooks", webhook_pages, "", {"url": URL, "events": "feed.failed"}),
        ("webhooks", webhook_pages, "rotate/", {}),
        ("webhooks", webhook_pages, "enable/", {}),
    ],
)
def test_pages_answer_404(
    api: Client,
    rows: dict[str, Any],
    monkeypatch: MonkeyPatch,
    call: tuple[str, Any, str, dict[str, str]],
) -> None:
    kind, module, action, body = call
    found = module.get_permitted
    monkeypatch.setattr(module, "get_permitted", lambda *given: deleted(found(*given)))
    row = rows[kind]
    answer = api.post(f"/{kind}/{row.pk}/{action}", body)
    assert answer.status_code == 404
    assert not type(row).objects.filter(pk=row.pk).exists()


def test_a_profile_that_is_deleted_while_a_catalogue_is_submitted_is_none(ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop", options={"quality": 70})
    gone = deleted(profile)
    file = ContentFile(make_csv(), "catalogue.csv")
    batch, _ = lifecycle.submit(ann, file, profile=gone, **gone.upload_options)
    assert (Request.objects.get(pk=batch.pk).profile, batch.quality) == (None, 70)


def test_a_profile_that_is_deleted_while_a_feed_is_saved_is_none(
    api: Client, ann: User, monkeypatch: MonkeyPatch
) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop")
    named = ProfileQuerySet.named
    monkeypatch.setattr(ProfileQuerySet, "named", lambda rows, text: deleted(named(rows, text)))
    body = {"name": "Spring", "url": URL, "profile": str(profile.pk)}
    answer = api.post("/api/feeds/", body, "application/json")
    assert (answer.status_code, answer.json()["profile"]) == (201, None)
    assert Feed.objects.get().profile is None
