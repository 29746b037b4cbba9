"""`latest.csv`: the result of the latest good run, for shops that pull it."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products import lifecycle
from products.feeds.models import Feed, FeedRunStatus
from products.models import Request
from tests.support.factories import JPEG, OTHER_URL, THIRD_URL, make_csv, settle
from tests.support.factories import URL as PICTURE
from tests.support.feeds import completed, make_feed, submitted

pytestmark = pytest.mark.django_db


@pytest.fixture
def feed(ann: User) -> Feed:
    return make_feed(ann)


def pull(feed: Feed, query: str = "", **headers: str) -> Any:
    """The answer to a shop that has no account."""
    feed.refresh_from_db()
    return Client().get(urlsplit(feed.latest_url).path + query, headers=headers)


def content(answer: Any) -> str:
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


def test_there_is_none_before_a_run_has_completed(feed: Feed) -> None:
    assert pull(feed).status_code == 404
    submitted(feed)
    assert pull(feed).status_code == 404


def test_it_is_the_result_of_the_latest_completed_run(feed: Feed) -> None:
    completed(feed, {PICTURE: JPEG})
    answer = pull(feed)
    first = content(answer)
    assert "Output Image Urls" in first and first.count("\n") == 2
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert answer.headers["Content-Type"] == "text/csv"
    replaced = content(pull(feed, "?style=replace"))
    assert "Output Image Urls" not in replaced and PICTURE not in replaced

    _run, batch = submitted(feed, make_csv((1, "Chair", PICTURE), (2, "Table", OTHER_URL)))
    assert content(pull(feed)) == first  # while a run is under way
    settle(batch, {PICTURE: JPEG, OTHER_URL: JPEG})
    assert content(pull(feed)).count("\n") == 3


def test_a_result_with_errors_is_one_too(feed: Feed) -> None:
    rows = make_csv((1, "Chair", PICTURE), (2, "Table", OTHER_URL))
    run = completed(feed, {PICTURE: JPEG, OTHER_URL: "http_404"}, rows)
    assert run.status == FeedRunStatus.COMPLETED_WITH_ERRORS
    assert content(pull(feed)).count("\n") == 3


def test_a_failed_or_canceled_run_leaves_the_last_good_result(feed: Feed) -> None:
    completed(feed, {PICTURE: JPEG})
    good = content(pull(feed))
    assert completed(feed, {PICTURE: "http_404"}).status == FeedRunStatus.FAILED
    assert content(pull(feed)) == good
    run, batch = submitted(feed)
    lifecycle.cancel(batch)
    run.refresh_from_db()
    assert run.status == FeedRunStatus.CANCELED
    assert content(pull(feed)) == good


def test_a_deleted_request_gives_way_to_the_one_before(feed: Feed) -> None:
    first = completed(feed, {PICTURE: JPEG})
    second = completed(feed, {PICTURE: JPEG})
    assert feed.latest == second.request
    assert second.request
    lifecycle.delete(second.request)
    assert feed.latest == first.request


def test_an_etag_saves_the_download_until_there_is_another_result(feed: Feed) -> None:
    completed(feed, {PICTURE: JPEG})
    etag = pull(feed).headers["ETag"]
    again = pull(feed, **{"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert pull(feed, "?style=replace").headers["ETag"] != etag
    completed(feed, {PICTURE: JPEG})
    after = pull(feed, **{"If-None-Match": etag})
    assert after.status_code == 200
    assert after.headers["ETag"] != etag


def test_while_its_request_is_retried_a_result_stays_as_it_was(feed: Feed) -> None:
    rows = (1, "Chair", f"{PICTURE} {OTHER_URL}"), (2, "Table", THIRD_URL), (3, "Lamp", OTHER_URL)
    outcomes: dict[str, bytes | str] = {PICTURE: JPEG, OTHER_URL: "timeout", THIRD_URL: "http_503"}
    completed(feed, outcomes, make_csv(*rows, (4, "Sofa", PICTURE)))
    run = completed(feed, outcomes, make_csv(*rows))
    assert run.request
    answers = [pull(feed), pull(feed, "?style=replace")]
    before, etag = [content(answer) for answer in answers], answers[0].headers["ETag"]
    assert "It failed with timeout." in before[0] and "Sofa" not in before[0]

    lifecycle.retry(run.request)
    batch = Request.objects.get(pk=run.request.pk)
    assert [content(pull(feed)), content(pull(feed, "?style=replace"))] == before
    settle(batch, {OTHER_URL: JPEG})
    assert batch.is_active
    assert [content(pull(feed)), content(pull(feed, "?style=replace"))] == before
    assert pull(feed, **{"If-None-Match": etag}).status_code == 304

    settle(batch, {THIRD_URL: "http_503"})
    assert not Request.objects.get(pk=batch.pk).is_active
    after = pull(feed, **{"If-None-Match": etag})
    assert "It failed with timeout." not in content(after) and after.headers["ETag"] != etag

    good = content(pull(feed))
    lifecycle.retry(batch)  # what the first retry has completed stays
    assert content(pull(feed)) == good
    lifecycle.cancel(batch)
    assert content(pull(feed)) == good


def test_a_result_that_is_sent_when_a_retry_ends_breaks_off(feed: Feed) -> None:
    run = completed(
        feed, {PICTURE: JPEG, OTHER_URL: "timeout"}, make_csv((1, "Chair", f"{PICTURE} {OTHER_URL}"))
    )
    assert run.request
    lifecycle.retry(run.request)
    pieces = pull(feed).streaming_content
    next(pieces)
    settle(Request.objects.get(pk=run.request.pk), {OTHER_URL: JPEG})
    with pytest.raises(ConnectionAbortedError):
        list(pieces)


def test_a_result_that_changes_while_it_is_sent_breaks_off(feed: Feed) -> None:
    run = completed(
        feed, {PICTURE: JPEG, OTHER_URL: "timeout"}, make_csv((1, "Chair", f"{PICTURE} {OTHER_URL}"))
    )
    assert run.request
    pieces = pull(feed).streaming_content
    next(pieces)
    lifecycle.retry(run.request)
    with pytest.raises(ConnectionAbortedError):
        list(pieces)


def test_the_secret_is_all_it_takes(feed: Feed, ann: User) -> None:
    completed(feed, {PICTURE: JPEG})
    path = urlsplit(feed.latest_url).path
    secret = path.split("/")[-2]
    other = make_feed(ann)
    for wrong in (
        path.replace(secret, secret[:-1]),
        path.replace(secret, "x"),
        path.replace(secret, "é"),
        path.replace(str(feed.pk), str(other.pk)),
        path.replace(str(feed.pk), str(ann.pk)),
    ):
        assert Client().get(wrong).status_code == 404
    assert Client().post(path).status_code == 405
    assert pull(feed, "?style=changes").status_code == 404
    feed.rotate_secret()
    assert Client().get(path).status_code == 404
    assert pull(feed).status_code == 200
