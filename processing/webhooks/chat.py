"""Events as messages for incoming webhooks of Slack, Microsoft Teams and Discord. Pure: no Django, no I/O.

Each has a sentence, the counts and a link. Texts of users are escaped and cut to what the services accept.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Of a line of any of the services; the narrowest is the title of an embed of Discord.
MAX_TITLE, MAX_TEXT = 250, 1000

_STATUSES = {
    "completed": "has completed",
    "completed_with_errors": "has completed with errors",
    "failed": "has failed",
    "canceled": "was canceled",
}
_FEED_EVENTS = {
    "feed.failed": "could not be run",
    "feed.held": "is held and waits for you to confirm it",
    "feed.missed": "is an hour past due and has not begun",
}


class Message(NamedTuple):
    """A message before it has the form of a service."""

    title: str
    text: str
    facts: list[tuple[str, str]]
    url: str


def message_of(event: str, data: Mapping[str, Any], url: str) -> Message:
    """Return the message about an event, with its `data` as in webhooks and the URL of a page about it."""
    if event.startswith("request."):
        title = f"{data.get('name') or data['filename']} {_STATUSES.get(data['status'], 'has ended')}"
        counts = data["images"]
        names = ("total", "completed", "failed", "unchanged")
        facts = [("Rows", f"{data['products']['total']:,}")]
        facts += [("Pictures" if name == "total" else name.title(), f"{counts[name]:,}") for name in names]
        return Message(_cut(title, MAX_TITLE), "", facts, url)
    if event in _FEED_EVENTS:
        last = data["last_run"] or {}
        text = "" if event == "feed.missed" else last.get("error") or ""
        return Message(
            _cut(f"Feed {data['name']} {_FEED_EVENTS[event]}", MAX_TITLE), _cut(text, MAX_TEXT), [], url
        )
    return Message("This is a test message", "Events of Image Extractor will be shown here.", [], url)


def slack(message: Message) -> dict[str, Any]:
    """Return the body for an incoming webhook of Slack."""
    title, text = _cut(_escaped(message.title), MAX_TITLE), _cut(_escaped(message.text), MAX_TEXT)
    lines = [f"*<{message.url}|{title}>*", text]
    lines += [" · ".join(f"{name} {value}" for name, value in message.facts)]
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(filter(None, lines))}}
    return {"text": title, "blocks": [section], "unfurl_links": False}


def teams(message: Message) -> dict[str, Any]:
    """Return the body for a workflow of Microsoft Teams: an Adaptive Card in a message."""
    body: list[dict[str, Any]] = [
        {
            "type": "TextBlock",
            "text": _plain(message.title),
            "weight": "Bolder",
            "size": "Medium",
            "wrap": True,
        }
    ]
    if message.text:
        body.append({"type": "TextBlock", "text": _plain(message.text), "wrap": True})
    if message.facts:
        facts = [{"title": name, "value": value} for name, value in message.facts]
        body.append({"type": "FactSet", "facts": facts})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": message.url}],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def discord(message: Message) -> dict[str, Any]:
    """Return the body for an incoming webhook of Discord. It mentions nobody."""
    fields = [{"name": name, "value": value, "inline": True} for name, value in message.facts]
    embed = {"title": _cut(_plain(message.title), MAX_TITLE), "url": message.url, "fields": fields}
    if message.text:
        embed["description"] = _plain(message.text)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


BODIES = {"slack": slack, "teams": teams, "discord": discord}


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _escaped(text: str) -> str:
    """Escape what Slack reads as links and mentions, and what it formats."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([*_~`])", "\u200b\\1", text)


def _plain(text: str) -> str:
    """Escape what Markdown formats."""
    return re.sub(r"([\\\\*_~`\[\]<>|])", r"\\\1", text)
