"""Values that variables accept, and the errors that name the wrong ones."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from imageextractor.environment import Environment


@pytest.fixture
def env() -> Environment:
    return Environment()


def problem(env: Environment) -> str:
    """The text of the error that check() raises."""
    with pytest.raises(ImproperlyConfigured) as raised:
        env.check()
    return str(raised.value)


# --- All variables ---


def test_an_empty_variable_counts_as_unset(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "")
    assert (env.text("SHOP"), env.text("SHOP", "lamps")) == (None, "lamps")
    assert (env.integer("SHOP", 5), env.boolean("SHOP", True)) == (5, True)
    assert (env.items("SHOP"), env.networks("SHOP"), env.url("SHOP")) == ([], (), None)
    env.check()


def test_a_file_may_hold_the_value_and_has_precedence(
    env: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "value").write_text("7\n", encoding="utf-8")
    monkeypatch.setenv("SHOP", "5")
    monkeypatch.setenv("SHOP_FILE", str(tmp_path / "value"))
    assert (env.text("SHOP"), env.integer("SHOP", 1)) == ("7", 7)
    (tmp_path / "value").write_text(" \n", encoding="utf-8")
    assert env.integer("SHOP", 3) == 3
    env.check()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused(
    content: bytes | None, env: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if content:
        (tmp_path / "value").write_bytes(content)
    monkeypatch.setenv("SHOP_FILE", str(tmp_path / "value"))
    assert env.text("SHOP", "lamps") == "lamps"
    assert problem(env).startswith("SHOP_FILE must name a readable text file: ")


def test_all_wrong_values_are_named_at_once_and_reading_goes_on_with_the_defaults(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("COUNT", "many"), ("SWITCH", "maybe"), ("FORM", "xml")):
        monkeypatch.setenv(name, text)
    assert (env.integer("COUNT", 5), env.boolean("SWITCH", True)) == (5, True)
    assert env.choice("FORM", "text", "json") == "text"
    assert problem(env).splitlines() == [
        "3 settings are wrong:",
        "  COUNT must be a whole number of at least 1, not 'many'.",
        "  SWITCH must be one of 1, true, yes, on, 0, false, no, off, not 'maybe'.",
        "  FORM must be one of text, json, not 'xml'.",
    ]
    env.check()  # settings that are loaded again start anew


# --- One kind of value each ---


def test_a_fraction_is_above_zero_and_at_most_one(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.fraction("SCALE", 1) == 1
    for text in ("0.3", "1", " .5 "):
        monkeypatch.setenv("SCALE", text)
        assert env.fraction("SCALE", 1) == float(text)
    env.check()
    for text in ("0", "-1", "1.1", "nan", "inf", "a third"):
        monkeypatch.setenv("SCALE", text)
        assert env.fraction("SCALE", 1) == 1
        assert problem(env) == f"SCALE must be a number above 0 and at most 1, not {text!r}."


@pytest.mark.parametrize("text", ["50000000", "50_000_000", "50,000,000", " 50000000 "])
def test_a_number_may_be_grouped(text: str, env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNT", text)
    assert env.integer("COUNT", 1) == 50_000_000
    env.check()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "x"])
def test_what_is_no_number_of_at_least_1_is_refused(
    text: str, env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNT", text)
    assert env.integer("COUNT", None) is None
    assert problem(env) == f"COUNT must be a whole number of at least 1, not {text!r}."


@pytest.mark.parametrize(
    ("words", "meaning"), [(["1", "true", "YES", "On"], True), (["0", "False", "no", "OFF"], False)]
)
def test_yes_and_no_have_four_words_each(
    words: list[str], meaning: bool, env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in words:
        monkeypatch.setenv("SWITCH", word)
        assert env.boolean("SWITCH", not meaning) is meaning
    env.check()


def test_networks_are_separated_by_commas(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWORKS", "10.0.0.0/8, fd00::/8,")
    assert env.networks("NETWORKS") == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    monkeypatch.setenv("NETWORKS", "10.0.0.0/8, 10.0.0.1/8")
    assert env.networks("NETWORKS") == ()
    assert problem(env).startswith("NETWORKS must be networks such as 10.0.0.0/8, separated by commas: ")


def test_a_base_url_has_no_trailing_slash(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE", "https://images.example.com:8443/shop/")
    assert env.url("BASE") == "https://images.example.com:8443/shop"
    env.check()


@pytest.mark.parametrize(
    "url",
    ["images.example.com", "ftp://a.b", "http://", "http://a?b=c", "http://a#b", "http://[", "http://a:x"],
)
def test_what_is_no_base_url_is_refused(url: str, env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE", url)
    assert env.url("BASE") is None
    assert problem(env) == "BASE must be a URL such as https://images.example.com."


@pytest.mark.parametrize("read", [Environment.url, Environment.email])
def test_an_error_does_not_repeat_a_password(
    read: Callable[[Environment, str], object], env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_PLACE", "ftp://ann:hush@files.example.com")
    read(env, "SECRET_PLACE")
    assert "hush" not in problem(env)


# --- The mail server ---


def mail_settings(env: Environment, monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, object]:
    monkeypatch.setenv("EMAIL_URL", url)
    return {name.removeprefix("EMAIL_"): value for name, value in env.email("EMAIL_URL").items()}


def test_without_a_mail_server_messages_are_printed(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    assert mail_settings(env, monkeypatch, "") == printed
    env.check()


@pytest.mark.parametrize(
    ("scheme", "port", "encryption"),
    [("smtp", 25, (False, False)), ("smtp+tls", 587, (True, False)), ("smtps", 465, (False, True))],
)
def test_a_mail_server_is_named_by_a_url(
    env: Environment, monkeypatch: pytest.MonkeyPatch, scheme: str, port: int, encryption: tuple[bool, bool]
) -> None:
    url = f"{scheme}://ann%40shop:p%2Fw@mail.example.com?from=me@shop.example"
    assert mail_settings(env, monkeypatch, url) == {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "HOST": "mail.example.com",
        "PORT": port,
        "HOST_USER": "ann@shop",
        "HOST_PASSWORD": "p/w",
        "USE_TLS": encryption[0],
        "USE_SSL": encryption[1],
        "DEFAULT_FROM_EMAIL": "me@shop.example",
    }
    assert mail_settings(env, monkeypatch, f"{scheme}://mail.example.com:2525/")["PORT"] == 2525
    env.check()


@pytest.mark.parametrize("url", ["mail.example.com", "http://a.b", "smtp://", "smtp://h:x", "smtp://h/path"])
def test_what_is_no_mail_server_is_refused_by_name(
    env: Environment, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    mail_settings(env, monkeypatch, url)
    assert problem(env).startswith("EMAIL_URL must be a URL such as smtp")
