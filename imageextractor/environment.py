"""Typed readers of environment variables. Each fails loudly, naming the variable and what it accepts."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, overload
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

Network = IPv4Network | IPv6Network


@overload
def env(name: str) -> str | None: ...
@overload
def env(name: str, default: str) -> str: ...
def env(name: str, default: str | None = None) -> str | None:
    """The variable's text; an empty one counts as unset. `NAME_FILE` may name a file that holds it."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip() or default
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {error}") from error
    return os.environ.get(name) or default


@overload
def env_int(name: str, default: int, *, minimum: int = 1) -> int: ...
@overload
def env_int(name: str, default: None, *, minimum: int = 1) -> int | None: ...
def env_int(name: str, default: int | None, *, minimum: int = 1) -> int | None:
    """A whole number of at least `minimum`."""
    text = env(name)
    if text is None:
        return default
    try:
        number = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        number = minimum - 1
    if number < minimum:
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {minimum}, not {text!r}.")
    return number


def env_bool(name: str, default: bool) -> bool:
    """`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`, in any case."""
    text = env(name, str(default)).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, true, yes, on, 0, false, no, off, not {text!r}.")


def env_choice(name: str, default: str, *others: str) -> str:
    """One of a few words."""
    text = env(name, default)
    if text not in {default, *others}:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join([default, *others])}, not {text!r}.")
    return text


def env_list(name: str) -> list[str]:
    """Values separated by commas; none when unset."""
    return [value.strip() for value in env(name, "").split(",") if value.strip()]


def env_networks(name: str) -> tuple[Network, ...]:
    """CIDR networks separated by commas, such as `10.0.0.0/8, fd00::/8`."""
    try:
        return tuple(ip_network(value) for value in env_list(name))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be networks such as 10.0.0.0/8, separated by commas: {error}."
        ) from error


def env_url(name: str) -> str | None:
    """An `http` or `https` base URL without a trailing slash; None when unset."""
    url = env(name)
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} must be a URL such as https://images.example.com, not {url!r}.")
    return url.rstrip("/")


def env_email(name: str) -> dict[str, Any]:
    """Django's settings for a mail server: `smtp://`, `smtp+tls://` (STARTTLS) or `smtps://`, with user,
    password and port where needed, the sender as `?from=`. Unset, messages are printed."""
    url = env(name)
    if url is None:
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ports or not parts.hostname or parts.path not in {"", "/"}:
        raise ImproperlyConfigured(
            f"{name} must be a URL such as smtp+tls://user:password@mail.example.com:587?from=me@example.com."
        )
    sender = parse_qs(parts.query).get("from")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or ports[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        **({"DEFAULT_FROM_EMAIL": sender[0]} if sender else {}),
    }
