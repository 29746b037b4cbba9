"""Receivers of the signals of Requests and feeds."""

from typing import Any

from django.dispatch import receiver

from processing.mail.tasks import mail_about_feed, mail_about_request
from products.feeds.models import Feed
from products.feeds.signals import alerted
from products.lifecycle.signals import request_finished
from products.models import Request, Run


@receiver(request_finished)
def mail_end(batch: Request, run: Run, **_kwargs: Any) -> None:
    """Send an e-mail about a run that has ended by itself."""
    if not run.canceled:
        mail_about_request(batch, "request.completed")


@receiver(alerted)
def mail_alert(feed: Feed, event: str, **_kwargs: Any) -> None:
    """Send an e-mail about an event of a feed."""
    mail_about_feed(feed, event)
