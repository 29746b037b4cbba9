"""The API of feeds."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from products.feeds import models
from products.feeds.models import Feed, FeedDelivery, FeedRun, FeedRunStatus
from products.models import Profile
from tests.support.factories import JPEG, client_of, make_csv, make_user, submit
from tests.support.factories import URL as PICTURE
from tests.support.feeds import NEW, URL, completed, make_feed, submitted

pytestmark = pytest.mark.django_db


def write(api: Client, feed: Feed | None = None, method: str = "PATCH", **fields: Any) -> Any:
    """Create a feed, or change one, and return the answer."""
    if feed is None:
        return api.post("/api/feeds/", fields, "application/json")
    return api.generic(method, f"/api/feeds/{feed.pk}/", json.dumps(fields), "application/json")


def error_of(answer: Any) -> tuple[str, str]:
    (error,) = answer.json()["errors"]
    return error["attr"], error["code"]


def test_a_feed_is_created_with_a_name_and_a_url_alone(api: Client, ann: User) -> None:
    answer = write(api, name="Spring", url=URL)
    assert answer.status_code == 201
    assert answer.json() == NEW
    feed = Feed.objects.get()
    assert feed.owner == ann
    assert answer.json()["latest_url"] == feed.latest_url
    assert api.get(f"/api/feeds/{feed.pk}/").json() == NEW
    assert api.get("/api/feeds/").json() == {"next": None, "previous": None, "results": [NEW]}


def test_a_schedule_says_when_the_feed_runs_next(api: Client) -> None:
    answer = write(api, name="Spring", url=URL, schedule=" 30  2 * * *", time_zone="Europe/Berlin").json()
    assert (answer["schedule"], answer["time_zone"]) == ("30 2 * * *", "Europe/Berlin")
    next_run_at = datetime.fromisoformat(answer["next_run_at"])
    assert timezone.now() < next_run_at < timezone.now() + timedelta(hours=26)
    assert next_run_at.minute == 30


@pytest.mark.parametrize(
    "changed", [{"enabled": False}, {"schedule": None}, {"enabled": False, "schedule": "0 0 * * *"}], ids=str
)
def test_without_a_schedule_or_disabled_there_is_no_next_run(
    api: Client, ann: User, changed: dict[str, Any]
) -> None:
    feed = make_feed(ann, schedule="0 2 * * *", next_run_at=timezone.now())
    answer = write(api, feed, **changed).json()
    assert answer["next_run_at"] is None
    assert answer["schedule"] == changed.get("schedule", "0 2 * * *")


def test_only_a_change_of_the_schedule_changes_the_next_run(api: Client, ann: User) -> None:
    due = datetime(2020, 1, 1, tzinfo=UTC)
    feed = make_feed(ann, schedule="0 2 * * *", next_run_at=due)
    unchanged = write(api, feed, name="Summer", schedule="0 2 * * *").json()
    assert unchanged["next_run_at"] == "2020-01-01T00:00:00Z"
    assert write(api, feed, time_zone="Asia/Tokyo").json()["next_run_at"] > "2026"


def test_a_profile_is_given_by_name_or_id(api: Client, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="shop", options={"quality": 60})
    shown = {"id": str(profile.pk), "name": "shop"}
    assert write(api, name="Spring", url=URL, profile="shop").json()["profile"] == shown
    feed = Feed.objects.get()
    assert write(api, feed, profile=None).json()["profile"] is None
    assert write(api, feed, profile=str(profile.pk)).json()["profile"] == shown
    other = Profile.objects.create(owner=make_user("bob"), name="other")
    for unknown in ("none", str(other.pk), "other", 7, ""):
        assert error_of(write(api, feed, profile=unknown)) == ("profile", "unknown_profile")
    profile.delete()
    assert api.get(f"/api/feeds/{feed.pk}/").json()["profile"] is None


def test_headers_are_stored_encrypted_and_answered_as_names(api: Client) -> None:
    headers = {"Authorization": "Bearer abc", "X-Shop": "7"}
    answer = write(api, name="Spring", url=URL, headers=headers)
    assert answer.json()["headers"] == ["Authorization", "X-Shop"]
    feed = Feed.objects.get()
    assert feed.headers == headers
    (row,) = Feed.objects.values()
    assert "Bearer" not in str(row) and "X-Shop" not in str(row)
    assert write(api, feed, name="Summer").json()["headers"] == ["Authorization", "X-Shop"]
    assert write(api, feed, headers={"X-Other": "8"}).json()["headers"] == ["X-Other"]
    assert write(api, feed, headers={}).json()["headers"] == []


def test_a_target_of_deliveries_is_stored_encrypted_and_answered_without_its_secrets(api: Client) -> None:
    target = "https://ann:secret@drop.example:8443/a.csv?signature=abc"
    answer = write(api, name="Spring", url=URL, deliver_to=target)
    shown = "https://…@drop.example:8443/a.csv?…"
    assert (answer.status_code, answer.json()["deliver_to"], answer.json()["delivered"]) == (201, shown, None)
    (row,) = FeedDelivery.objects.values()
    assert "example" not in str(row) and FeedDelivery.objects.get().target == target
    feed = Feed.objects.get()
    assert api.get("/api/feeds/").json()["results"][0]["deliver_to"] == shown
    for same in ({"name": "Summer"}, {"deliver_to": shown}):
        assert write(api, feed, **same).json()["deliver_to"] == shown
        assert FeedDelivery.objects.get().target == target
    plain = "https://drop.example:8443/a.csv"
    assert write(api, feed, deliver_to=plain).json()["deliver_to"] == plain
    assert FeedDelivery.objects.get().target == plain
    assert write(api, feed, deliver_to="storage").json()["deliver_to"] == "storage"
    assert write(api, feed, deliver_to=None).json()["deliver_to"] is None
    assert not FeedDelivery.objects.exists()


def test_headers_survive_a_new_secret_key_as_long_as_the_old_one_is_a_fallback(
    api: Client, ann: User, settings: Settings
) -> None:
    feed = make_feed(ann, headers={"X-Shop": "7"})
    latest_url = feed.latest_url
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert (Feed.objects.get().headers, Feed.objects.get().latest_url) == ({"X-Shop": "7"}, latest_url)
    settings.SECRET_KEY_FALLBACKS = []
    assert (Feed.objects.get().header_names, Feed.objects.get().latest_url) == ([], "")


@pytest.mark.parametrize(
    ("attr", "code", "fields"),
    [
        ("name", "required", {"name": ...}),
        ("name", "blank", {"name": ""}),
        ("url", "required", {"url": ...}),
        ("url", "invalid_url", {"url": "ftp://shop.example/a.csv"}),
        ("url", "invalid_url", {"url": "https://ann:secret@shop.example/a.csv"}),
        ("schedule", "invalid", {"schedule": "0 0 30 2 *"}),
        ("schedule", "invalid", {"schedule": "nightly"}),
        ("schedule", "invalid", {"schedule": "0 0 * * " + "1," * 100 + "1"}),
        ("time_zone", "invalid", {"time_zone": "Europe/Atlantis"}),
        ("time_zone", "invalid", {"time_zone": "../etc/passwd"}),
        ("profile", "unknown_profile", {"profile": "shop\0"}),
        ("profile", "unknown_profile", {"profile": ["shop"]}),
        ("when_unchanged", "invalid_choice", {"when_unchanged": "wait"}),
        ("headers", "invalid", {"headers": ["Authorization"]}),
        ("headers", "invalid", {"headers": {"X": 1}}),
        ("headers", "invalid", {"headers": {"X Y": "1"}}),
        ("headers", "invalid", {"headers": {"Host": "other.example"}}),
        ("headers", "invalid", {"headers": {"X": "1\r\nHost: other.example"}}),
        ("headers", "invalid", {"headers": {"X": "1", "x": "2"}}),
        ("headers", "invalid", {"headers": {f"X-{n}": "1" for n in range(21)}}),
        ("deliver_to", "invalid_url", {"deliver_to": "disk"}),
        ("deliver_to", "invalid_url", {"deliver_to": "ftp://drop.example/a.csv"}),
        ("deliver_to", "invalid_url", {"deliver_to": "https://a:b@c:d@drop.example:x/a.csv"}),
        ("deliver_to", "invalid_url", {"deliver_to": "https://drop.example/a.csv?…"}),
        ("deliver_to", "invalid_url", {"deliver_to": "https://…@drop.example/a.csv"}),
        ("deliver_to", "blank", {"deliver_to": ""}),
        ("delivered", "unknown_option", {"delivered": None}),
        ("hourly", "unknown_option", {"hourly": True}),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_its_name(
    api: Client, attr: str, code: str, fields: dict[str, Any]
) -> None:
    given = {"name": "Spring", "url": URL, **fields}
    answer = write(api, **{name: value for name, value in given.items() if value is not ...})
    assert (answer.status_code, error_of(answer)) == (400, (attr, code))
    assert not Feed.objects.exists()


def test_a_user_has_so_many_feeds_at_most(api: Client, ann: User, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_FEEDS_PER_USER", 1)
    make_feed(ann)
    assert error_of(write(api, name="Summer", url=URL))[1] == "too_many_feeds"


def test_a_feed_is_replaced_and_deleted(api: Client, ann: User) -> None:
    feed = make_feed(ann, schedule="0 2 * * *", headers={"X-Shop": "7"})
    answer = write(api, feed, "PUT", name="Summer", url=f"{URL}?new")
    assert answer.json() | {"headers": [], "schedule": None, "next_run_at": None} == NEW | {
        "name": "Summer",
        "url": f"{URL}?new",
    }
    completed(feed, {PICTURE: JPEG})
    assert api.delete(f"/api/feeds/{feed.pk}/").status_code == 204
    assert not FeedRun.objects.exists()


def test_run_answers_with_the_feed_while_it_is_fetched(api: Client, ann: User) -> None:
    feed = make_feed(ann, enabled=False)
    answer = api.post(f"/api/feeds/{feed.pk}/run/")
    assert answer.status_code == 202
    run = FeedRun.objects.get()
    at = run.started_at.isoformat().replace("+00:00", "Z")
    fetching = {"request": None, "status": "fetching", "at": at, "error": None}
    assert answer.json()["last_run"] == fetching
    second = api.post(f"/api/feeds/{feed.pk}/run/")
    assert (second.status_code, error_of(second)[1]) == (409, "active")
    assert FeedRun.objects.count() == 1


def test_the_last_run_has_the_status_of_its_request(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    run, batch = submitted(feed)
    shown = api.get(f"/api/feeds/{feed.pk}/").json()["last_run"]
    assert (shown["request"], shown["status"]) == (str(batch.pk), "processing")
    batch.status = "pending"
    batch.save()
    assert api.get(f"/api/feeds/{feed.pk}/").json()["last_run"]["status"] == "pending"
    assert api.get(f"/api/requests/?feed={feed.pk}").json()["results"][0]["id"] == str(batch.pk)
    assert api.get(f"/api/requests/?feed={run.pk}").json()["results"] == []
    assert api.get("/api/requests/?feed=spring").status_code == 400


def test_confirm_needs_a_run_that_is_held(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    rows = [(n, "Chair", PICTURE) for n in range(4)]
    completed(feed, {PICTURE: JPEG}, make_csv(*rows))
    answer = api.post(f"/api/feeds/{feed.pk}/confirm/")
    assert (answer.status_code, error_of(answer)[1]) == (409, "not_held")
    held = completed(feed, {PICTURE: JPEG}, make_csv(*rows[:2]))
    assert held.status == FeedRunStatus.HELD
    last = api.get(f"/api/feeds/{feed.pk}/").json()["last_run"]
    assert (last["status"], last["error"]) == ("held", "The file has 2 rows; the last one had 4.")
    answer = api.post(f"/api/feeds/{feed.pk}/confirm/")
    last = answer.json()["last_run"]
    assert (answer.status_code, last["status"], last["error"]) == (200, "completed", None)
    assert feed.latest == held.request


def test_rotate_makes_a_new_secret(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    before = feed.latest_url
    after = api.post(f"/api/feeds/{feed.pk}/rotate/").json()["latest_url"]
    assert after != before
    feed.refresh_from_db()
    assert feed.latest_url == after
    assert not feed.has_secret(before.split("/")[-2]) and feed.has_secret(after.split("/")[-2])


def test_feeds_of_others_are_not_found(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    bob = client_of(make_user("bob"))
    assert bob.get("/api/feeds/").json()["results"] == []
    for method, part in [("get", ""), ("patch", ""), ("delete", ""), ("post", "run/"), ("post", "rotate/")]:
        assert getattr(bob, method)(f"/api/feeds/{feed.pk}/{part}").status_code == 404


def test_a_list_of_feeds_asks_as_many_queries_as_one_feed(
    api: Client, ann: User, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        submitted(make_feed(ann))
    with django_assert_max_num_queries(4):
        assert len(api.get("/api/feeds/").json()["results"]) == 5


def test_a_request_of_no_feed_is_in_no_feed(api: Client, ann: User) -> None:
    submit(ann)
    assert len(api.get("/api/requests/").json()["results"]) == 1
