"""Lists that act: several Requests at once, sorted, with totals, and the last seven days."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from django.utils import timezone

from products.models import Request
from tests.support.factories import make_user
from tests.support.pages import PICTURE, body, ingested, pictures, settle, submitted

pytestmark = pytest.mark.django_db
BULK = "/requests/bulk/"


def test_several_requests_are_canceled_at_once(page: Client, ann: User) -> None:
    batches = [submitted(ann), submitted(ann)]
    settle(done := ingested(ann), PICTURE)
    data = {"action": "cancel", "request": [one.pk for one in (*batches, done)]}
    assert "Canceled 2 of 3 requests." in body(page.post(BULK, data, follow=True))
    assert Request.objects.filter(status="canceled").count() == 2


def test_several_requests_are_deleted_after_a_confirmation(page: Client, ann: User) -> None:
    kept, *gone = submitted(ann, name="kept.csv"), submitted(ann), submitted(ann)
    data = {"action": "delete", "request": [one.pk for one in gone]}
    assert "Delete 2 requests" in body(page.post(BULK, data))
    assert Request.objects.present().count() == 3
    assert "2 requests deleted." in body(page.post(BULK, {**data, "confirmed": "on"}, follow=True))
    assert Request.objects.present().get() == kept


@pytest.mark.parametrize(
    "data", [{}, {"action": "delete"}, {"action": "burn", "request": "x"}, {"request": "\0"}], ids=str
)
def test_nothing_is_done_to_what_was_not_ticked_or_is_of_others(
    page: Client, ann: User, data: dict[str, str]
) -> None:
    other = submitted(make_user("bob"))
    submitted(ann)
    for ticked in ({}, {"request": str(other.pk)}):
        answer = page.post(BULK, {"action": "cancel", **data, **ticked}, follow=True)
        assert "Nothing was selected." in body(answer)
    assert Request.objects.filter(status="pending").count() == 2


def test_the_list_is_sorted_and_sums_what_was_saved(page: Client, ann: User) -> None:
    for name, count in (("b.csv", 1), ("a.csv", 3), ("c.csv", 2)):
        batch = ingested(ann, *pictures(count))
        settle(batch, *[PICTURE] * count)
        Request.objects.filter(pk=batch.pk).update(filename=name)
    Request.objects.filter(filename="c.csv").update(images_total=F("images_total") + 5, images_failed=5)

    def names(query: str) -> list[str]:
        return [batch.filename for batch in page.get(f"/requests/{query}").context["page"]]

    assert names("?sort=name") == ["a.csv", "b.csv", "c.csv"]
    assert names("?sort=saved") == ["a.csv", "c.csv", "b.csv"]
    assert names("?sort=failed")[0] == "c.csv"
    assert names("?sort=made-up") == names("") == ["c.csv", "a.csv", "b.csv"]
    assert "585.9 KB saved by 3 requests" in body(page.get("/requests/"))


def test_a_list_with_active_requests_refreshes_itself(page: Client, ann: User) -> None:
    batch = ingested(ann)
    for path in ("/", "/requests/"):
        assert f'hx-get="{path}" hx-trigger="every 5s" hx-select="#request-list"' in body(page.get(path))
    settle(batch, PICTURE)
    for path in ("/", "/requests/"):
        assert "every 5s" not in body(page.get(path))


def test_the_last_seven_days_are_summed_with_the_hosts_that_fail_most(page: Client, ann: User) -> None:
    assert "Last 7 days" not in body(page.get("/"))
    settle(ingested(ann, *pictures(3)), PICTURE, "dns", "timeout")
    old = ingested(ann, *pictures(2))
    settle(old, PICTURE, PICTURE)
    Request.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=8))
    settle(ingested(make_user("bob"), *pictures(2)), PICTURE, "dns")
    week = page.get("/").context["week"]
    assert (week.requests, week.completed, week.failed, week.saved) == (1, 1, 2, 100_000)
    assert week.hosts == [("shop.example", 2)]
    assert [height for _day, height in week.bars] == [0, 0, 0, 0, 0, 0, 20]
