"""Listens to what a browser complains of and whom it asks."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.test import Client

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

#: Runs before every page: what a hostile script does, and what the browser says that it stopped.
SCRIPT = """
    window.marks = [];
    window.mark = () => window.marks.push("a script ran");
    document.addEventListener("securitypolicyviolation", event => console.error(
        `policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


class Watch:
    """Complaints of pages: errors and warnings on the console, dialogs, requests to any host but `url`'s.

    Chromium logs every 4xx answer as an error; those that a test `expects` are none.
    """

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.complaints: list[str] = []
        self._expected: tuple[str, ...] = ()

    def follow(self, page: "Page") -> None:
        """Listen from now on."""
        page.add_init_script(SCRIPT)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", self._note)

    def expect(self, *statuses: str) -> None:
        """Let these answers pass, such as "400 (Bad Request)"."""
        self._expected = statuses

    def check(self) -> None:
        """Fail if there was a complaint."""
        assert self.complaints == []

    def _hear(self, message: "ConsoleMessage") -> None:
        # Where a page names no icon, as JSON cannot, Chromium looks for one.
        is_icon = message.location["url"].endswith("/favicon.ico")
        is_expected = any(status in message.text for status in self._expected)
        if message.type in {"error", "warning"} and not is_icon and not is_expected:
            self.complaints.append(message.text)

    def _note(self, sent: "Request") -> None:
        parts = urlsplit(sent.url)
        if parts.netloc != self.host and parts.scheme not in {"data", "blob"}:
            self.complaints.append(f"asked {sent.url}")


def log_in(context: "BrowserContext", user: User, url: str) -> None:
    """Let the browser be logged in as `user`."""
    client = Client()
    client.force_login(user)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
