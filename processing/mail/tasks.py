"""E-mails to users about their Requests and feeds: the actor that sends one, and who gets which."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import dramatiq
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMultiAlternatives
from django.db import OperationalError, transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from processing.webhooks.chat import Message, message_of
from processing.webhooks.tasks import WEBHOOKS
from processing.work.tasks import can_send
from products.accounts.models import MailChoices
from products.api.serializers import RequestSerializer
from products.catalogue import server_of
from products.feeds.models import Feed
from products.feeds.serializers import FeedDataSerializer
from products.models import Request, RequestStatus
from products.results.failures import FailureGroup, failure_groups

logger = logging.getLogger(__name__)

#: A feed that runs often, or fails often, causes no more than one e-mail in this time.
BETWEEN_MAILS_OF_A_FEED = timedelta(hours=1)
#: Of a mail server that does not answer. Messages are delayed by at most a minute.
RETRY_MILLISECONDS, MAX_TRIES = 60_000, 5
TOP_CAUSES = 5


@dramatiq.actor(queue_name=WEBHOOKS)
def send_mail(event: str, row_id: str, tries: int = 1) -> None:
    """Send the e-mail about an event of a Request or of a feed.

    Try again if the mail server or the database fails.
    """
    try:
        is_request = event.startswith("request.")
        mail = _about_request(event, UUID(row_id)) if is_request else _about_feed(event, UUID(row_id))
        if mail:
            mail.send()
    except (OSError, OperationalError):  # OSError: the base class of smtplib's errors
        logger.exception("The e-mail about %s of %s could not be sent (try %d)", event, row_id, tries)
        if tries < MAX_TRIES:
            send_mail.send_with_options(args=(event, row_id, tries + 1), delay=RETRY_MILLISECONDS)
    except Exception:
        logger.exception("The e-mail about %s of %s could not be made", event, row_id)


def mail_about_request(batch: Request, event: str) -> None:
    """Send an e-mail about the end of a run when the transaction commits, if its owner wants one."""
    has_errors = batch.status != RequestStatus.COMPLETED
    wanted = Q(finished_with_errors=True) if has_errors else Q(pk=None)
    _enqueue(
        batch.owner, wanted | Q(finished=True), event, batch.pk, Feed.objects.filter(runs__request=batch)
    )


def mail_about_feed(feed: Feed, event: str) -> None:
    """Send an e-mail about an event of a feed when the transaction commits, if its owner wants one."""
    _enqueue(feed.owner, Q(feed_failed=True), event, feed.pk, Feed.objects.filter(pk=feed.pk))


def _enqueue(owner: User, wanted: Q, event: str, row_id: UUID, feed: Any) -> None:
    """Send the message for an e-mail, unless the same feed, if there is one, has caused one recently."""
    if not (owner.email and can_send() and MailChoices.objects.filter(wanted, user=owner.pk).exists()):
        return
    now = timezone.now()
    if of_feed := feed.first():
        quiet = Q(mailed_at=None) | Q(mailed_at__lte=now - BETWEEN_MAILS_OF_A_FEED)
        if not Feed.objects.filter(quiet, pk=of_feed.pk).update(mailed_at=now):
            return
    transaction.on_commit(lambda: send_mail.send(event, str(row_id)), robust=True)


def _about_request(event: str, pk: UUID) -> EmailMultiAlternatives | None:
    batch = Request.objects.present().select_related("owner").filter(pk=pk).first()
    if batch is None:
        return None
    data = RequestSerializer(batch).data
    causes = failure_groups(batch, with_rows=False)[:TOP_CAUSES]
    return _mail(batch.owner, event, data, batch.get_absolute_url(), causes)


def _about_feed(event: str, pk: UUID) -> EmailMultiAlternatives | None:
    feed = Feed.objects.with_last_run().select_related("owner").filter(pk=pk).first()
    if feed is None:
        return None
    return _mail(feed.owner, event, FeedDataSerializer(feed).data, feed.get_absolute_url(), [])


def _mail(
    owner: User, event: str, data: Mapping[str, Any], page: str, causes: list[FailureGroup]
) -> EmailMultiAlternatives:
    """Return an e-mail in plain text and HTML."""
    message: Message = message_of(event, data, f"{settings.PUBLIC_URL}{page}")
    context = {
        **message._asdict(),
        "causes": [
            {"title": one.explanation.title, "host": server_of(one.host), "count": f"{one.count:,}"}
            for one in causes
        ],
        "account": f"{settings.PUBLIC_URL}{reverse('account')}",
    }
    subject = " ".join(message.title.split())  # a header has one line
    mail = EmailMultiAlternatives(subject, render_to_string("mail/message.txt", context), None, [owner.email])
    mail.attach_alternative(render_to_string("mail/message.html", context), "text/html")
    return mail
