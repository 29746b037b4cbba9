"""Pages of feeds."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.defaultfilters import filesizeformat
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest import MonkeyPatch

from products.feeds import changes, runs
from products.feeds.deliveries import set_target
from products.feeds.models import Feed, FeedDelivery, FeedRun, FeedRunStatus
from products.models import Profile
from tests.support.factories import JPEG, OTHER_JPEG, OTHER_URL, client_of, make_csv, make_user, settle
from tests.support.factories import URL as PICTURE
from tests.support.feeds import URL, completed, make_feed, submitted
from tests.support.pages import HTMX, body

pytestmark = pytest.mark.django_db
FORM = {"name": "Spring", "url": URL, "every": "", "time_zone": "UTC", "when_unchanged": "run"}


def post(client: Client, feed: Feed | None = None, **fields: Any) -> Any:
    return client.post(feed.get_absolute_url() if feed else "/feeds/", FORM | fields)


def test_a_feed_is_added_with_a_schedule_that_is_offered(api: Client, ann: User) -> None:
    empty = body(api.get("/feeds/"))
    assert "No feeds yet" in empty and '<option value="UTC" selected>' in empty
    answer = post(
        api, every="daily", time="02:30", time_zone="Europe/Berlin", header_lines="X-Shop: 7\nX-Key: a:b"
    )
    feed = Feed.objects.get()
    assert answer.headers["Location"] == feed.get_absolute_url()
    assert (feed.owner, feed.schedule, feed.time_zone) == (ann, "30 2 * * *", "Europe/Berlin")
    assert feed.headers == {"X-Shop": "7", "X-Key": "a:b"}
    assert feed.next_run_at and feed.next_run_at > timezone.now()
    page = body(api.get(feed.get_absolute_url()))
    assert ", 02:30</time> Europe/Berlin" in page
    assert "X-Shop, X-Key: stored." in page and "a:b" not in page
    assert '<option value="daily" selected>' in page and 'name="time" value="02:30"' in page
    assert feed.latest_url in page
    assert "Spring" in body(api.get("/feeds/"))


def test_the_page_of_a_feed_is_one_of_feeds_in_the_navigation(api: Client, ann: User) -> None:
    link = '<a id="nav-feeds" href="/feeds/" aria-current="{}">Feeds</a>'
    assert link.format("page") in body(api.get("/feeds/"))
    assert link.format("true") in body(api.get(make_feed(ann).get_absolute_url()))


def test_any_other_schedule_is_entered_as_cron_fields(api: Client) -> None:
    post(api, every="other", cron="*/5 * * * *")
    feed = Feed.objects.get()
    assert feed.schedule == "*/5 * * * *"
    page = body(api.get(feed.get_absolute_url()))
    assert '<option value="other" selected>' in page and 'value="*/5 * * * *"' in page


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        ({"every": "hourly", "time": "09:15"}, "0 * * * *"),
        ({"every": "daily", "time": "09:05"}, "5 9 * * *"),
        ({"every": "weekly", "time": "23:30", "weekday": "0"}, "30 23 * * 0"),
        ({"every": "other", "cron": "30 5 * * 1-5"}, "30 5 * * 1-5"),
    ],
    ids=str,
)
def test_a_schedule_is_shown_in_the_fields_in_which_it_was_entered(
    api: Client, fields: dict[str, Any], schedule: str
) -> None:
    post(api, **fields)
    feed = Feed.objects.get()
    assert feed.schedule == schedule
    page = body(api.get(feed.get_absolute_url()))
    assert f'<option value="{fields["every"]}" selected>' in page
    if fields["every"] in {"daily", "weekly"}:
        assert f'name="time" value="{fields["time"]}"' in page
    if "weekday" in fields:
        assert '<option value="0" selected>Sunday</option>' in page
    if "cron" in fields:
        assert f'name="cron" value="{schedule}"' in page
    post(api, feed, **fields)
    feed.refresh_from_db()
    assert feed.schedule == schedule


def test_a_schedule_in_cron_fields_is_replaced_by_one_that_is_chosen(api: Client, ann: User) -> None:
    feed = make_feed(ann, schedule="*/5 * * * *")
    answer = post(api, feed, every="daily", time="04:00", cron="*/5 * * * *")  # as it was shown, folded away
    assert answer.status_code == 302
    feed.refresh_from_db()
    assert feed.schedule == "0 4 * * *"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": ""}, "This field is required."),
        ({"url": "shop"}, "The URL does not start with http:// or https://."),
        ({"every": "other", "cron": "0 0 30 2 *"}, "there is no such day"),
        ({"every": "30 2 * * *", "cron": "0 5 * * *"}, "set Runs to “Other (cron fields)”"),
        ({"deliver_url": "https://shop.example/in"}, "set Deliver results to “Also to a URL”"),
        ({"every": "other"}, "Use five fields"),
        ({"every": "daily", "cron": "every day at 5"}, "To use these, set Runs to"),
        ({"every": "daily"}, "Enter a time."),
        ({"every": "weekly", "time": "25:00"}, "Enter a valid time."),
        ({"time_zone": "Mars"}, "Select a valid choice"),
        ({"header_lines": "X-Shop"}, "Write a name, a colon and a value in each line."),
        ({"header_lines": "X-Shop: 1\nX-Shop: 2"}, "A header is named twice."),
        ({"header_lines": "Host: other"}, "Host is set by this service."),
        ({"deliver": "url"}, "The URL is empty."),
        ({"deliver": "url", "deliver_url": "ftp://a.example"}, "The URL does not start with http"),
        ({"deliver": "url", "deliver_url": "https://a.example/?…"}, "Enter the whole URL."),
    ],
    ids=str,
)
def test_a_wrong_field_says_so(api: Client, fields: dict[str, Any], text: str) -> None:
    answer = post(api, **fields)
    assert answer.status_code == 400
    assert text in body(answer) and "<title>Error: " in body(answer)
    assert not Feed.objects.exists()


def test_results_are_delivered_where_the_form_says(api: Client, ann: User) -> None:
    url = "https://shop:pass@drop.example/a.csv?key=secret"
    post(api, deliver="url", deliver_url=url)
    feed = Feed.objects.get()
    assert FeedDelivery.objects.get().target == url
    page = body(api.get(feed.get_absolute_url()))
    assert 'value="https://…@drop.example/a.csv?…"' in page and '<option value="url" selected>' in page
    assert "pass@" not in page and "key=secret" not in page
    post(api, feed, deliver="url", deliver_url="https://…@drop.example/a.csv?…")
    assert FeedDelivery.objects.get().target == url  # as it was shown
    post(api, feed, deliver="storage", deliver_url="https://…@drop.example/a.csv?…")
    assert FeedDelivery.objects.get().target == "storage"
    assert f"results/{feed.pk}/latest.csv" in body(api.get(feed.get_absolute_url()))
    post(api, feed)
    assert not FeedDelivery.objects.exists()


def test_the_form_changes_its_own_fields_alone(api: Client, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="shop")
    feed = make_feed(ann, schedule="0 * * * *", next_run_at=timezone.now(), headers={"X-Shop": "7"})
    answer = post(api, feed, name="Summer", every="hourly", profile=str(profile.pk))
    assert answer.status_code == 302
    before, feed = feed, Feed.objects.get()
    assert (feed.name, feed.profile, feed.headers) == ("Summer", profile, {"X-Shop": "7"})
    assert feed.next_run_at == before.next_run_at
    post(api, feed, remove_headers="on")
    feed.refresh_from_db()
    assert (feed.headers, feed.schedule, feed.next_run_at, feed.profile) == ({}, "", None, None)


def test_staff_keep_the_profile_of_the_feed_of_another_user(ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="shop")
    feed = make_feed(ann, profile=profile)
    root = User.objects.create_superuser("root")
    staff = client_of(root)
    Profile.objects.create(owner=root, name="other")
    page = body(staff.get(feed.get_absolute_url()))
    assert f'<option value="{profile.pk}" selected>shop</option>' in page and ">other</option>" not in page
    assert post(staff, feed, profile=str(profile.pk)).status_code == 302
    feed.refresh_from_db()
    assert feed.profile == profile
    for name, status in (("shop", 200), ("other", 400)):
        answer = staff.patch(f"/api/feeds/{feed.pk}/", {"profile": name}, "application/json")
        assert answer.status_code == status


def test_a_refused_change_shows_the_feed_as_it_is(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    answer = post(api, feed, name="Summer", url="shop")
    assert answer.status_code == 400
    assert "<h1>Spring</h1>" in body(answer)


def test_a_feed_is_run_paused_resumed_and_deleted(api: Client, ann: User) -> None:
    feed = make_feed(ann, schedule="0 2 * * *", next_run_at=timezone.now())
    page = feed.get_absolute_url()
    assert "Fetching the file." in body(api.post(f"{page}run/", follow=True))
    assert "A run is under way." in body(api.post(f"{page}run/", follow=True))
    assert "Paused" in body(api.post(f"{page}pause/", follow=True))
    feed.refresh_from_db()
    assert not feed.enabled and feed.next_run_at is None
    assert "Schedule resumed." in body(api.post(f"{page}resume/", follow=True))
    feed = Feed.objects.get()
    assert feed.enabled and feed.next_run_at
    before = feed.latest_url
    assert "New address made." in body(api.post(f"{page}rotate/", follow=True))
    feed.refresh_from_db()
    assert feed.latest_url != before
    assert "Spring deleted." in body(api.post(f"{page}delete/", follow=True))
    assert not Feed.objects.exists()


def test_a_held_run_is_confirmed_on_its_page(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    rows = [(number, "Chair", PICTURE) for number in range(6)]
    completed(feed, {PICTURE: JPEG}, make_csv(*rows))
    completed(feed, {PICTURE: JPEG}, make_csv(*rows[:2]))
    page = body(api.get(feed.get_absolute_url()))
    assert "The last run is held" in page and "The file has 2 rows; the last one had 6." in page
    page = body(api.post(f"{feed.get_absolute_url()}confirm/", follow=True))
    assert "Run confirmed." in page and "The last run is held" not in page
    page = body(api.post(f"{feed.get_absolute_url()}confirm/", follow=True))
    assert "The last run is not held any more." in page


def test_the_history_has_a_row_and_a_bar_for_each_run(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    rows = make_csv((1, "Chair", f"{PICTURE} {OTHER_URL}"))
    completed(feed, {PICTURE: JPEG, OTHER_URL: JPEG}, rows)
    completed(feed, {PICTURE: JPEG, OTHER_URL: "http_404"}, rows)
    failed = runs.start(feed)
    assert failed
    FeedRun.objects.filter(pk=failed.pk).update(
        status=FeedRunStatus.FAILED, error="127.0.0.1 answered 404 Not Found.", finished_at=timezone.now()
    )
    submitted(feed)
    page = body(api.get(feed.get_absolute_url()))
    assert page.count("<figure>") == 3
    assert page.count('<rect class="all"') == 9 and page.count('<rect class="failed"') == 1
    assert "2 pictures, 1 failed</title>" in page
    assert page.count('<th scope="row">') == 4
    assert "127.0.0.1 answered 404 Not Found." in page


def test_a_long_history_is_paged(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    FeedRun.objects.bulk_create(
        FeedRun(feed=feed, status=FeedRunStatus.UNCHANGED, finished_at=timezone.now()) for _ in range(30)
    )
    page = body(api.get(feed.get_absolute_url()))
    assert "1 to 25 of 30" in page and "Older runs" in page
    assert "26 to 30 of 30" in body(api.get(f"{feed.get_absolute_url()}?page=2"))


def test_a_url_in_the_address_fills_the_form_and_the_feed_may_run_at_once(api: Client) -> None:
    shown = api.get("/feeds/?url=https://shop.example/products.csv").content.decode()
    assert 'value="https://shop.example/products.csv"' in shown
    fields = {"name": "Shop", "url": "https://shop.example/products.csv", "time_zone": "UTC"}
    answer = api.post("/feeds/", {**fields, "every": "", "when_unchanged": "run", "run": "1"})
    found = Feed.objects.get()
    assert answer.headers["Location"] == found.get_absolute_url()
    assert found.runs.count() == 1


# --- Changes ---


def changed_feed(owner: User, count: int = 1) -> Feed:
    """A feed of whose last two runs one picture is the same, one changed, and so many are new and gone."""
    feed = make_feed(owner)
    before = [PICTURE, OTHER_URL, *(f"{PICTURE}?gone-{number}" for number in range(count))]
    now = [PICTURE, OTHER_URL, *(f"{PICTURE}?new-{number}" for number in range(count))]
    for urls, other in ((before, JPEG), (now, OTHER_JPEG)):
        outcomes: dict[str, bytes | str] = dict.fromkeys(urls, JPEG)
        outcomes[OTHER_URL] = other
        completed(feed, outcomes, make_csv(*((number, "Chair", url) for number, url in enumerate(urls))))
    return feed


def test_pictures_that_changed_are_shown_side_by_side(api: Client, ann: User) -> None:
    feed = changed_feed(ann)
    now, before = (run.request for run in feed.runs.all())
    assert now and before
    answer = api.get(f"{feed.get_absolute_url()}changes/")
    pairs = answer.context["pairs"]
    assert [(one.kind, bool(one.before), bool(one.now)) for one in pairs] == [
        ("changed", True, True),
        ("new", False, True),
        ("gone", True, False),
    ]
    page = body(answer)
    for batch, version in ((now, pairs[0].now), (before, pairs[0].before)):
        image = batch.images.get(url=OTHER_URL)
        assert version.thumbnail == reverse("thumbnail", args=[image.pk])
        assert f'src="{version.thumbnail}"' in page
        assert str(batch.images.get(url=PICTURE).pk) not in page
    assert api.get(pairs[0].before.page).status_code == api.get(pairs[0].now.page).status_code == 200
    assert api.get(pairs[0].before.thumbnail).headers["Content-Type"] == "image/webp"
    assert page.count("<img ") == page.count('width="192" height="192" loading="lazy"') == 4
    assert page.count('<span class="shot void">New</span>') == 1
    assert page.count('<span class="shot void">Gone</span>') == 1
    assert "All 3" in page and "New 1" in page and "Changed 1" in page and "Gone 1" in page
    for kind in ("new", "changed", "gone"):
        shown = api.get(f"{feed.get_absolute_url()}changes/?kind={kind}").context["pairs"]
        assert [one.kind for one in shown] == [kind]
    first = body(api.get(feed.get_absolute_url()))
    assert "Changes in the last run" in first and first.count("<img ") == 4


def test_changes_are_paged_and_take_few_queries(
    api: Client, ann: User, django_assert_max_num_queries: Any, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PICTURES_PER_PAGE", 4)
    path: str | None = f"{changed_feed(ann, 5).get_absolute_url()}changes/"
    seen: list[tuple[str, str]] = []
    pages = 0
    while path:
        with django_assert_max_num_queries(12):
            answer = api.get(path)
        pages += 1
        seen += [(one.kind, one.name) for one in answer.context["pairs"]]
        after = answer.context["next"]
        path = f"{path.partition('?')[0]}?after={after}" if after else None
    assert pages == 3
    assert [kind for kind, _ in seen] == ["changed"] + ["new"] * 5 + ["gone"] * 5


def test_a_held_run_is_compared_with_the_last_good_one(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    rows = [(number, "Chair", f"{PICTURE}?{number}") for number in range(6)]
    for count in (6, 2, 3):
        urls = [url for _, _, url in rows[:count]]
        completed(feed, dict.fromkeys(urls, JPEG), make_csv(*rows[:count]))
    answer = api.get(f"{feed.get_absolute_url()}changes/")
    assert [one.kind for one in answer.context["pairs"]] == ["gone"] * 3
    assert ", which is held," in body(answer)


def test_large_runs_are_compared_on_a_page_of_their_own(
    api: Client, ann: User, monkeypatch: MonkeyPatch
) -> None:
    feed = changed_feed(ann)
    monkeypatch.setattr(changes, "MAX_COMPARED", 5)
    page = body(api.get(feed.get_absolute_url()))
    assert "View all changes" in page and "<img " not in page


def test_there_is_nothing_to_compare_before_two_runs_have_a_result(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    for _ in range(2):
        assert "Nothing to compare yet" in body(api.get(f"{feed.get_absolute_url()}changes/"))
        assert "Changes in the last run" not in body(api.get(feed.get_absolute_url()))
        completed(feed, {PICTURE: JPEG})
    assert "No such pictures" in body(api.get(f"{feed.get_absolute_url()}changes/?kind=other&after=x"))
    assert "No picture is new, changed or gone." in body(api.get(feed.get_absolute_url()))
    assert client_of(make_user("bob")).get(f"{feed.get_absolute_url()}changes/").status_code == 404


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://shop.example/export/spring%20chairs.csv?key=1", "spring chairs.csv from shop.example"),
        ("https://ann:secret@shop.example:8443/", "shop.example"),
        ("https://[", ""),
        ("", ""),
        ("/products.csv", ""),
    ],
)
def test_a_feed_of_a_url_has_a_name_to_begin_with(api: Client, url: str, name: str) -> None:
    assert api.get("/feeds/", {"url": url}).context["form"].initial["name"] == name


def test_one_button_is_loud_on_the_page_of_a_held_feed(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    completed(feed, {PICTURE: JPEG}, make_csv(*((number, "Chair", PICTURE) for number in range(6))))
    completed(feed, {PICTURE: JPEG}, make_csv((1, "Chair", PICTURE)))
    shown = body(api.get(feed.get_absolute_url()))
    assert "The last run is held" in shown
    assert '<button id="confirm-run">Confirm run</button>' in shown
    assert '<button id="run-now" class="second">Run now</button>' in shown


def test_notifications_are_offered_in_the_menu_of_actions(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    shown = body(api.get(feed.get_absolute_url()))
    assert shown.count("data-notify") == 1
    menu = shown.partition('<details class="menu" id="actions">')[2].partition("<hr>")[0]
    assert 'data-text="Notify me when a run ends"' in menu
    viewer = client_of(make_user("viewer", is_staff=True))  # who may change nothing
    shown = body(viewer.get(feed.get_absolute_url()))
    assert shown.count("data-notify") == 1
    assert 'id="actions"' not in shown


def test_a_request_names_the_feed_that_fetched_it_on_its_page_and_in_lists(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    _run, batch = submitted(feed)
    link = f'href="{feed.get_absolute_url()}">Spring</a>'
    assert f"Fetched by the feed <a {link}" in body(api.get(batch.get_absolute_url()))
    for path in ("/", "/requests/"):
        assert link in body(api.get(path)).partition('id="request-list"')[2]


def test_both_addresses_of_the_latest_result_are_copied(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    shown = body(api.get(feed.get_absolute_url()))
    for url in (feed.latest_url, f"{feed.latest_url}?style=replace"):
        assert f"<code>{url}</code>" in shown and f'data-copy="{url}"' in shown


def test_charts_have_a_caption_with_the_value_of_the_last_run(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    completed(
        feed, {PICTURE: JPEG, OTHER_URL: JPEG}, make_csv((1, "Chair", PICTURE), (2, "Table", OTHER_URL))
    )
    completed(feed, {PICTURE: JPEG}, make_csv((1, "Chair", PICTURE)))
    shown = body(api.get(feed.get_absolute_url()))
    assert "<figcaption><span>Pictures per run</span><span>Last run 1 picture</span></figcaption>" in shown
    assert shown.count("<span>Last run ") == 3
    size = filesizeformat(feed.runs.latest("started_at").bytes_output).replace("\xa0", " ")  # as in the table
    assert f"<figcaption><span>Size per run</span><span>Last run {size}</span></figcaption>" in shown


def test_a_page_at_work_is_sent_again_when_the_run_has_moved_and_once_at_its_end(
    api: Client, ann: User
) -> None:
    feed = make_feed(ann)
    run = runs.start(feed)
    assert run
    path = feed.get_absolute_url()
    seen = _polled(api, path)
    assert api.get(seen, headers=HTMX).status_code == 204
    FeedRun.objects.filter(pk=run.pk).update(status="failed", error="It failed.", finished_at=timezone.now())
    answer = body(api.get(seen, headers=HTMX))
    assert "It failed." in answer and 'hx-trigger="every 15s"' in answer
    _run, batch = submitted(feed, make_csv((1, "Chair", PICTURE), (2, "Table", OTHER_URL)))
    seen = _polled(api, path)
    assert api.get(seen, headers=HTMX).status_code == 204
    settle(batch, {PICTURE: JPEG})
    assert api.get(seen, headers=HTMX).status_code == 200
    seen = _polled(api, path)
    settle(batch, {OTHER_URL: JPEG})
    assert 'hx-trigger="every 15s"' in body(api.get(seen, headers=HTMX))


def test_an_idle_page_finds_the_run_that_its_schedule_starts(api: Client, ann: User) -> None:
    feed = make_feed(ann, schedule="0 * * * *", next_run_at=timezone.now())
    path = feed.get_absolute_url()
    assert 'hx-trigger="every 15s"' in body(api.get(path))
    seen = _polled(api, path)
    assert api.get(seen, headers=HTMX).status_code == 204
    assert runs.start(feed)
    answer = body(api.get(seen, headers=HTMX))
    assert 'hx-trigger="every 3s"' in answer and "Fetching" in answer


def test_a_page_follows_the_delivery_of_the_result(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    set_target(feed, "https://shop.example/in")
    completed(feed, {PICTURE: JPEG}, make_csv((1, "Chair", PICTURE)))
    FeedDelivery.objects.update(due_at=timezone.now())
    seen = _polled(api, feed.get_absolute_url())
    assert api.get(seen, headers=HTMX).status_code == 204
    FeedDelivery.objects.update(due_at=None, delivered_at=timezone.now())
    answer = body(api.get(seen, headers=HTMX))
    assert "None yet" not in answer and 'hx-trigger="every 15s"' in answer


def test_an_open_page_of_a_deleted_feed_says_so(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    assert runs.start(feed)
    seen = _polled(api, feed.get_absolute_url())
    feed.delete()
    answer = api.get(seen, headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Retarget"]) == (200, "#main")
    assert "Feed deleted" in body(answer)


def test_a_poll_repeats_nothing_of_the_address_but_its_page(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    assert runs.start(feed)
    shown = body(api.get(f"{feed.get_absolute_url()}?page=1&note=made-up"))
    assert 'hx-get="?page=1&amp;seen=' in shown and "made-up" not in shown


def test_a_new_address_is_made_after_a_question(api: Client, ann: User) -> None:
    feed = make_feed(ann)
    question = body(api.get(feed.get_absolute_url())).partition('id="address-question"')[2]
    assert "stops working immediately. This cannot be undone." in question.partition("</details>")[0]
    assert f'action="{reverse("feed-rotate", args=[feed.pk])}"' in question.partition("</details>")[0]


def _polled(client: Client, path: str) -> str:
    """The address that the page polls."""
    (query,) = re.findall(r'id="live" hx-get="([^"]+)"', body(client.get(path)))
    return path + unescape(query)
