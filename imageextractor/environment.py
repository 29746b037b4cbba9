"""Typed values from environment variables. One error names all variables that have a wrong value."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, overload
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

Network = IPv4Network | IPv6Network

#: Default ports of mail servers by URL scheme.
MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class Environment:
    """Reads `os.environ`.

    An empty variable counts as unset. `NAME_FILE` may name a file that holds the value, and has precedence.
    A wrong value is replaced by the default, so that reading goes on; `check()` raises the error.
    """

    def __init__(self) -> None:
        self._problems: list[str] = []

    def refuse(self, problem: str) -> None:
        """Note a problem: a sentence with the variable and what it accepts, but no secret value."""
        self._problems.append(problem)

    def check(self) -> None:
        """Raise ImproperlyConfigured with every problem noted since the last check."""
        problems, self._problems = self._problems, []  # Django may load the settings again after an error
        if len(problems) > 1:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ImproperlyConfigured(f"{len(problems)} settings are wrong:{lines}")
        if problems:
            raise ImproperlyConfigured(problems[0])

    @overload
    def text(self, name: str) -> str | None: ...
    @overload
    def text(self, name: str, default: str) -> str: ...
    def text(self, name: str, default: str | None = None) -> str | None:
        """Return the text, unchanged."""
        if path := os.environ.get(f"{name}_FILE"):
            try:
                return Path(path).read_text(encoding="utf-8").strip() or default
            except (OSError, UnicodeDecodeError) as error:
                self.refuse(f"{name}_FILE must name a readable text file: {error}.")
                return default
        return os.environ.get(name) or default

    @overload
    def integer(self, name: str, default: int) -> int: ...
    @overload
    def integer(self, name: str, default: None) -> int | None: ...
    def integer(self, name: str, default: int | None) -> int | None:
        """Return a whole number of at least 1, which may be written as `50_000_000` or `50,000,000`."""
        text = self.text(name)
        if text is None:
            return default
        try:
            number = int(text.replace("_", "").replace(",", ""))
        except ValueError:
            number = 0
        if number < 1:
            self.refuse(f"{name} must be a whole number of at least 1, not {text!r}.")
            return default
        return number

    def fraction(self, name: str, default: float) -> float:
        """Return a number above 0 and not above 1."""
        text = self.text(name)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number <= 1:
            self.refuse(f"{name} must be a number above 0 and at most 1, not {text!r}.")
            return default
        return number

    def boolean(self, name: str, default: bool) -> bool:
        """Return whether the text is one of `1 true yes on` rather than `0 false no off`, in any case."""
        text = self.text(name, str(default)).lower()
        if text in {"1", "true", "yes", "on"}:
            return True
        if text not in {"0", "false", "no", "off"}:
            self.refuse(f"{name} must be one of 1, true, yes, on, 0, false, no, off, not {text!r}.")
            return default
        return False

    def choice(self, name: str, default: str, *others: str) -> str:
        """Return one of the given words."""
        text = self.text(name, default)
        if text not in {default, *others}:
            self.refuse(f"{name} must be one of {', '.join([default, *others])}, not {text!r}.")
            return default
        return text

    def items(self, name: str) -> list[str]:
        """Return values separated by commas."""
        return [value.strip() for value in self.text(name, "").split(",") if value.strip()]

    def networks(self, name: str) -> tuple[Network, ...]:
        """Return CIDR networks separated by commas, such as `10.0.0.0/8, fd00::/8`."""
        try:
            return tuple(ip_network(value) for value in self.items(name))
        except ValueError as error:
            self.refuse(f"{name} must be networks such as 10.0.0.0/8, separated by commas: {error}.")
            return ()

    def url(self, name: str) -> str | None:
        """Return an `http` or `https` base URL without a trailing slash."""
        url = self.text(name)
        if url is None:
            return None
        parts = _split(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            self.refuse(f"{name} must be a URL such as https://images.example.com.")
            return None
        return url.rstrip("/")

    def email(self, name: str) -> dict[str, Any]:
        """Return Django's settings for a mail server, or for printing messages where the variable is unset.

        The URL's scheme is `smtp`, `smtp+tls` (STARTTLS) or `smtps`; `?from=` is the sender.
        """
        printing = {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
        url = self.text(name)
        if url is None:
            return printing
        parts = _split(url)
        if parts.scheme not in MAIL_PORTS or not parts.hostname or parts.path not in {"", "/"}:
            example = "smtp+tls://user:password@mail.example.com:587?from=me@example.com"
            self.refuse(f"{name} must be a URL such as {example}.")
            return printing
        sender = parse_qs(parts.query).get("from")
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": parts.hostname,
            "EMAIL_PORT": parts.port or MAIL_PORTS[parts.scheme],
            "EMAIL_HOST_USER": unquote(parts.username or ""),
            "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
            "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
            "EMAIL_USE_SSL": parts.scheme == "smtps",
            **({"DEFAULT_FROM_EMAIL": sender[0]} if sender else {}),
        }


def _split(url: str) -> SplitResult:
    """Return a URL's parts, all of them empty if it is malformed."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for a port that is no number
    except ValueError:
        return urlsplit("")
    return parts


env = Environment()
