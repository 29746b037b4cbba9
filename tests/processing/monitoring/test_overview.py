"""The charts on the first page of the admin."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from processing.monitoring.overview import CHART_HEIGHT, CHART_HOURS, charts_of
from products.models import Request
from tests.support.factories import (
    JPEG,
    OTHER_URL,
    URL,
    client_of,
    ingest,
    make_csv,
    make_user,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 2, 3, 40, tzinfo=UTC)


@pytest.fixture
def batch() -> Request:
    """Two pictures, of which one has failed."""
    data = make_csv((1, "Chair", URL), (2, "Table", OTHER_URL))
    return settle(ingest(submit(make_user(), data)), {URL: JPEG, OTHER_URL: "dns"})


def test_the_last_day_is_drawn_by_the_hour(batch: Request) -> None:
    Request.objects.update(created_at=NOW - timedelta(hours=2))
    requests, pictures, saved = charts_of(NOW)
    assert [len(chart.bars) for chart in (requests, pictures, saved)] == [CHART_HOURS] * 3
    assert (requests.total, pictures.total) == ("1", "2, 1 failed")
    drawn = [bar for bar in pictures.bars if bar.height]
    assert [(bar.place, bar.height, bar.failed_height, bar.label) for bar in drawn] == [
        (CHART_HOURS - 3, CHART_HEIGHT, CHART_HEIGHT / 2, "01:00 UTC: 2, 1 failed")
    ]


def test_what_is_older_than_a_day_is_not_in_it(batch: Request) -> None:
    Request.objects.update(created_at=NOW - timedelta(hours=CHART_HOURS))
    assert [chart.total for chart in charts_of(NOW)][:2] == ["0", "0"]


def test_the_first_page_says_in_words_why_pictures_failed(batch: Request) -> None:
    boss: User = make_user("boss", is_staff=True, is_superuser=True)
    shown = client_of(boss).get("/admin/").content.decode()
    assert "Pictures <strong>2, 1 failed</strong>" in shown
    assert ">Server not found</a></th><td>dns</td><td>1</td>" in shown
