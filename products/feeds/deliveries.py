"""Every change of a feed's delivery.

    plan ──▶ due ──claim──▶ claimed ──succeed──▶ nothing due, until the next plan
              ▲               │└──── give_up ──▶ the same, with an error
              └── postpone ◀──┘

A result that becomes the latest one while another is delivered is due at once afterwards.
"""

import uuid
from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from products.feeds.models import SECRETS, Feed, FeedDelivery, FeedDeliveryQuerySet
from products.feeds.signals import delivery_planned

MAX_ERROR = 500
#: After so many failures a delivery whose worker has died is not tried again: it may be what kills workers.
MAX_FAILURES = 10
MANY_CRASHES = "The process that delivered the result ended each time before it had finished."


def set_target(feed: Feed, target: str | None) -> None:
    """Deliver later results to this target; None for nowhere.

    A target as it is shown, without its secrets, is the stored one. Raises Feed.DoesNotExist.
    """
    with transaction.atomic():
        Feed.objects.select_for_update(no_key=True).only("pk").get(pk=feed.pk)
        delivery = FeedDelivery.objects.filter(feed=feed).first()
        if delivery and target == delivery.shown_target:
            return
        FeedDelivery.objects.filter(feed=feed).delete()
        if target:
            FeedDelivery.objects.create(feed=feed, encrypted_target=SECRETS.encrypt(target))


def plan(feed_id: uuid.UUID) -> None:
    """Deliver the latest result of a feed, if it is delivered anywhere."""
    if FeedDelivery.objects.filter(feed=feed_id).update(due_at=timezone.now(), failures=0):
        delivery_planned.send(FeedDelivery, feed_id=feed_id)


def claim(feed_id: uuid.UUID, worker_id: uuid.UUID) -> FeedDelivery | None:
    """Claim a delivery for a worker. None if it is claimed or not due."""
    waiting = FeedDelivery.objects.waiting().filter(feed=feed_id)
    if not waiting.update(claimed_by=worker_id):
        return None
    claimed = FeedDelivery.objects.filter(feed=feed_id, claimed_by=worker_id)
    return claimed.select_related("feed").first()


def give_up_turn(feed_id: uuid.UUID) -> None:
    """Note that no message is under way for a delivery that waits for a worker."""
    FeedDelivery.objects.waiting().filter(feed=feed_id).update(enqueued_at=None)


def succeed(delivery: FeedDelivery) -> None:
    """Note that the result has been delivered. A later one than that stays due."""
    _planned(delivery).update(due_at=None, failures=0)
    _release(delivery, delivered_at=timezone.now(), error="")


def postpone(delivery: FeedDelivery, seconds: float, error: str) -> None:
    """Note a failure, and try again in so many seconds, or at once if there is a later result."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    _planned(delivery).update(due_at=due_at, failures=F("failures") + 1)
    _release(delivery, error=error[:MAX_ERROR])


def wait(delivery: FeedDelivery, seconds: float) -> None:
    """Try again in so many seconds, since the result is being changed."""
    _planned(delivery).update(due_at=timezone.now() + timedelta(seconds=seconds))
    _release(delivery)


def give_up(delivery: FeedDelivery, error: str) -> None:
    """Note that the result could not be delivered. A later one than that stays due."""
    _planned(delivery).update(due_at=None)
    _release(delivery, error=error[:MAX_ERROR])


def release(alive: Collection[uuid.UUID]) -> None:
    """Give back the deliveries that workers other than these have claimed: they have died."""
    claimed = FeedDelivery.objects.exclude(claimed_by=None).exclude(claimed_by__in=alive)
    claimed.filter(failures__gte=MAX_FAILURES - 1).update(
        due_at=None, claimed_by=None, enqueued_at=None, error=MANY_CRASHES
    )
    claimed.update(claimed_by=None, enqueued_at=None, failures=F("failures") + 1)


def give_back(worker_id: uuid.UUID) -> None:
    """Give back all deliveries that a worker has claimed, because it stops."""
    FeedDelivery.objects.filter(claimed_by=worker_id).update(claimed_by=None, enqueued_at=None)


def _planned(delivery: FeedDelivery) -> FeedDeliveryQuerySet:
    """Return the query of the delivery unless a later result has been planned, or the target was changed."""
    return FeedDelivery.objects.filter(
        pk=delivery.pk, due_at=delivery.due_at, encrypted_target=delivery.encrypted_target
    )


def _release(delivery: FeedDelivery, **fields: object) -> None:
    """End the claim of a worker, unless it was taken for dead or the target was changed."""
    held = FeedDelivery.objects.filter(
        pk=delivery.pk, claimed_by=delivery.claimed_by, encrypted_target=delivery.encrypted_target
    )
    held.update(claimed_by=None, enqueued_at=None, **fields)
