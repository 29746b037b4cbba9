"""One attempt to fetch a feed's file, and what becomes of its run."""

import hashlib
import logging
import random
from datetime import timedelta
from io import BytesIO
from typing import Any

from django.core.files import File
from django.utils import timezone

from processing.feeds.source import FetchedCatalogue, UnpackError, fetch_catalogue
from processing.timing import RETRY_DELAYS_SECONDS, STORAGE_RETRY_SECONDS
from processing.work.fetch import FetchError, Version
from products import lifecycle
from products.catalogue import CatalogueError
from products.encryption import UnreadableSecret
from products.feeds import runs
from products.feeds.models import Feed, FeedRun, WhenUnchanged
from products.lifecycle.quotas import check_open_work
from products.models import Profile, Request, RunOrigin
from products.models.files import StorageUnavailable, storage_checked
from products.throttling import LimitReached

logger = logging.getLogger(__name__)

#: Waiting for a host that asks for fewer requests, for storage or for earlier work ends after this time.
PATIENCE = timedelta(hours=24)
#: Errors that are listed of a file that is refused.
NAMED_PROBLEMS = 3
UNREADABLE_HEADERS = (
    "The headers of the feed cannot be decrypted, because SECRET_KEY was changed. Enter them again."
)
INTERNAL_ERROR = "The file could not be processed because of an internal error."


class LostRun(Exception):
    """The run was taken from this worker, which was taken for dead."""


def attempt(run: FeedRun) -> None:
    """Fetch the file of a claimed run once, and submit it. Raises nothing: every error becomes an outcome."""
    try:
        check_open_work(run.feed.owner)
        _fetch_and_submit(run)
    except LostRun:
        logger.warning("Run %s of feed %s was taken over by another worker", run.pk, run.feed_id)
    except FetchError as error:
        _fetch_failed(run, error)
    except (UnpackError, UnreadableSecret) as error:
        runs.fail(run, str(error) or UNREADABLE_HEADERS)
    except CatalogueError as error:
        runs.fail(run, _refusal(error))
    except LimitReached as error:
        _wait(run, error.seconds, error.detail)
    except StorageUnavailable as error:
        _wait(run, STORAGE_RETRY_SECONDS, error.detail)
    except Exception:
        logger.exception("Unexpected error with run %s of feed %s", run.pk, run.feed_id)
        _retry(run, INTERNAL_ERROR)


def _fetch_and_submit(run: FeedRun) -> None:
    feed = run.feed
    known = _version(feed) if feed.when_unchanged == WhenUnchanged.SKIP and _may_skip(run) else None
    fetched = fetch_catalogue(feed.url, headers=feed.headers, known=known)
    if known and (fetched.data is None or fetched.version.sha256 == known.sha256):
        runs.skip(run)
        return
    _submit(run, fetched)


def _submit(run: FeedRun, fetched: FetchedCatalogue) -> None:
    def hand_over(batch: Request) -> None:
        if not runs.submitted(run, batch):
            raise LostRun
        Feed.objects.filter(pk=run.feed_id).update(
            etag=version.etag,
            last_modified=version.last_modified,
            fetched_url=version.url,
            sha256=version.sha256,
            fetched_with=_digest(run.feed),
        )

    version = fetched.version
    file = File(BytesIO(fetched.data or b""), fetched.name)
    profile = _profile(run.feed, file)
    run.options = _options(profile)
    lifecycle.submit(
        run.feed.owner,
        file,
        on_submitted=hand_over,
        profile=profile,
        run_by=RunOrigin.FEED,
        **run.options,
    )


def _profile(feed: Feed, file: "File[bytes]") -> Profile | None:
    """Return the profile of a feed; without one, that whose header the file has."""
    return feed.profile or lifecycle.choose_profile(feed.owner, file)


def _options(profile: Profile | None) -> dict[str, Any]:
    return profile.upload_options if profile else {}


def _may_skip(run: FeedRun) -> bool:
    """Return whether a file that is the same as the last one would have the result that is served.

    The last file has completed, and would be run with the same options.
    """
    last, latest = run.feed.runs.with_file().first(), run.feed.latest
    if last is None or latest is None or last.request_id != latest.pk:
        return False
    with storage_checked(), latest.source.open("rb") as file:
        options = _options(_profile(run.feed, file))
    return bool(last.options == options)


def _version(feed: Feed) -> Version | None:
    """Return the version of the file that was run last; None if it came from elsewhere."""
    if not feed.sha256 or feed.fetched_with != _digest(feed):
        return None
    return Version(feed.fetched_url, bytes(feed.sha256), feed.etag, feed.last_modified)


def _digest(feed: Feed) -> str:
    """Return a digest of what the file is fetched with: another URL or header may mean another file."""
    return hashlib.sha256(f"{feed.url} {sorted(feed.headers.items())}".encode()).hexdigest()


def _fetch_failed(run: FeedRun, error: FetchError) -> None:
    if error.permanent:
        runs.fail(run, error.detail)
    elif error.asks_to_wait:
        _wait(run, error.retry_after or RETRY_DELAYS_SECONDS[-1], error.detail)
    else:
        _retry(run, error.detail)


def _retry(run: FeedRun, detail: str) -> None:
    """Count an attempt and try again after a delay, or fail if it was the last."""
    if run.attempts >= len(RETRY_DELAYS_SECONDS):
        runs.fail(run, detail)
        return
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
    runs.postpone(run, RETRY_DELAYS_SECONDS[run.attempts] * jitter, detail, counts=True)


def _wait(run: FeedRun, seconds: float, detail: str) -> None:
    """Try again later without counting an attempt, or fail after PATIENCE."""
    if timezone.now() - run.started_at > PATIENCE:
        runs.fail(run, detail)
    else:
        runs.postpone(run, seconds, detail, counts=False)


def _refusal(error: CatalogueError) -> str:
    """Return the reasons why a file is refused."""
    named = [
        f"Line {problem.line}: {problem.detail}" if problem.line else problem.detail
        for problem in error.problems[:NAMED_PROBLEMS]
    ]
    others = len(error.problems) - len(named)
    return " ".join(named) + (f" There are {others} more problems." if others else "")
