"""What the readers of variables accept, and how they refuse the rest."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from imageextractor.environment import env_email


def settings_of(monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, object]:
    monkeypatch.setenv("EMAIL_URL", url)
    return {name.removeprefix("EMAIL_"): value for name, value in env_email("EMAIL_URL").items()}


def test_without_a_mail_server_messages_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(monkeypatch, "") == {"BACKEND": "django.core.mail.backends.console.EmailBackend"}


@pytest.mark.parametrize(
    ("scheme", "port", "tls", "ssl"),
    [("smtp", 25, False, False), ("smtp+tls", 587, True, False), ("smtps", 465, False, True)],
)
def test_a_mail_server_is_named_by_a_url(
    monkeypatch: pytest.MonkeyPatch, scheme: str, port: int, tls: bool, ssl: bool
) -> None:
    found = settings_of(monkeypatch, f"{scheme}://ann%40shop:p%2Fw@mail.example.com?from=me@shop.example")
    assert found == {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "HOST": "mail.example.com",
        "PORT": port,
        "HOST_USER": "ann@shop",
        "HOST_PASSWORD": "p/w",
        "USE_TLS": tls,
        "USE_SSL": ssl,
        "DEFAULT_FROM_EMAIL": "me@shop.example",
    }
    assert settings_of(monkeypatch, f"{scheme}://mail.example.com:2525/")["PORT"] == 2525


@pytest.mark.parametrize("url", ["mail.example.com", "http://a.b", "smtp://", "smtp://h:x", "smtp://h/path"])
def test_what_is_no_mail_server_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL must be a URL such as smtp"):
        settings_of(monkeypatch, url)
