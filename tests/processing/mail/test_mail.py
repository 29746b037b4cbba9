"""E-mails as a real SMTP server receives them."""

from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.mail import tasks
from products.accounts.models import MailChoices
from products.feeds import runs
from products.feeds.models import Feed
from products.models import Request
from tests.support.batches import WORKER
from tests.support.factories import JPEG, URL, client_of, make_csv, make_user, three_outcomes
from tests.support.feeds import completed, make_feed
from tests.support.stack import free_port

pytestmark = pytest.mark.django_db(transaction=True)


class Mailbox:
    """Keeps what an SMTP server receives."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        parsed = message_from_bytes(envelope.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.messages.append(parsed)
        return "250 OK"


@pytest.fixture
def mailbox(settings: Settings, monkeypatch: MonkeyPatch) -> Iterator[Mailbox]:
    """An SMTP server, to which e-mails are sent as soon as their transaction commits."""
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.hostname, server.port
    monkeypatch.setattr(tasks, "can_send", lambda: True)
    monkeypatch.setattr(tasks.send_mail, "send", tasks.send_mail.fn)
    yield mailbox
    server.stop(no_assert=True)


@pytest.fixture
def ann() -> User:
    return make_user(email="ann@shop.example")


def choose(user: User, **choices: bool) -> None:
    MailChoices.objects.update_or_create(user=user, defaults=choices)


def texts(message: EmailMessage) -> tuple[str, str]:
    """Return the plain text and the HTML of an e-mail."""
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert isinstance(plain, EmailMessage) and isinstance(html, EmailMessage)
    return plain.get_content(), html.get_content()


def test_a_finished_request_is_told_with_counts_causes_and_a_link(ann: User, mailbox: Mailbox) -> None:
    choose(ann, finished_with_errors=True)
    three_outcomes(ann)
    (message,) = mailbox.messages
    assert message["To"] == "ann@shop.example"
    assert message["Subject"] == "catalogue.csv has completed with errors"
    for text in texts(message):
        assert Request.objects.get().get_absolute_url() in text
        assert "Download timed out (shop.example)" in text
        assert "/account/" in text
    assert "Completed: 1" in texts(message)[0] and "Failed: 2" in texts(message)[0]


@pytest.mark.parametrize(
    ("choices", "count"),
    [
        ({}, 0),
        ({"finished_with_errors": True, "feed_failed": True}, 0),
        ({"finished": True}, 1),
    ],
    ids=str,
)
def test_a_user_gets_what_was_chosen(
    ann: User, mailbox: Mailbox, choices: dict[str, bool], count: int
) -> None:
    choose(ann, **choices)
    completed(make_feed(ann), {URL: JPEG})
    assert len(mailbox.messages) == count


def test_a_user_without_an_address_gets_nothing(mailbox: Mailbox) -> None:
    bob = make_user("bob")
    choose(bob, finished=True)
    three_outcomes(bob)
    assert not mailbox.messages


def fail(feed: Feed, error: str = "The host is gone.") -> None:
    run = runs.start(feed)
    assert run
    claimed = runs.claim(run.pk, WORKER, 1)
    assert claimed and runs.fail(claimed, error)


def test_a_feed_sends_one_mail_an_hour_at_most(ann: User, mailbox: Mailbox) -> None:
    choose(ann, feed_failed=True, finished=True)
    feed, other = make_feed(ann, name="Spring\nBcc: eve@evil.example"), make_feed(ann)
    fail(feed, "<b>gone</b>")
    fail(feed)
    completed(feed, {URL: JPEG}, make_csv())
    (message,) = mailbox.messages
    assert message["Subject"] == "Feed Spring Bcc: eve@evil.example could not be run"
    assert message["Bcc"] is None
    plain, html = texts(message)
    assert "<b>gone</b>" in plain and "&lt;b&gt;gone&lt;/b&gt;" in html
    fail(other)
    assert len(mailbox.messages) == 2
    Feed.objects.update(mailed_at=timezone.now() - timedelta(minutes=61))
    fail(feed)
    assert len(mailbox.messages) == 3


def test_a_mail_server_that_is_down_is_tried_again(
    ann: User, settings: Settings, monkeypatch: MonkeyPatch
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    sent: list[Any] = []
    monkeypatch.setattr(tasks.send_mail, "send_with_options", lambda **options: sent.append(options))
    feed = make_feed(ann)
    tasks.send_mail.fn("feed.failed", str(feed.pk))
    assert sent == [{"args": ("feed.failed", str(feed.pk), 2), "delay": 60_000}]
    tasks.send_mail.fn("feed.failed", str(feed.pk), tasks.MAX_TRIES)
    assert len(sent) == 1


def test_an_email_is_tried_again_after_a_lock_of_the_database(ann: User, monkeypatch: MonkeyPatch) -> None:
    def locked(*_args: Any) -> None:
        raise OperationalError("database is locked")

    sent: list[Any] = []
    monkeypatch.setattr(tasks, "_about_feed", locked)
    monkeypatch.setattr(tasks.send_mail, "send_with_options", lambda **options: sent.append(options))
    feed = make_feed(ann)
    tasks.send_mail.fn("feed.failed", str(feed.pk))
    assert [options["args"][2] for options in sent] == [2]


def test_choices_are_made_on_the_account_page(ann: User) -> None:
    page = client_of(ann)
    assert "A feed has failed, is held or is late" in page.get("/account/").content.decode()
    answer = page.post("/account/mail/", {"feed_failed": "on"}, follow=True)
    assert "E-mail choices saved." in answer.content.decode()
    chosen = MailChoices.objects.get()
    assert (chosen.user, chosen.finished, chosen.finished_with_errors, chosen.feed_failed) == (
        ann,
        False,
        False,
        True,
    )
    page.post("/account/mail/", {})
    assert not MailChoices.objects.get().feed_failed
