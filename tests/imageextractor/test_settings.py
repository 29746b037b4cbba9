"""Settings: values that end the start, Django's checks for production, secrets, changed keys."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from django.views.debug import get_default_exception_reporter_filter
from pytest import MonkeyPatch
from pytest_django import Settings

from tests.support import fork_server
from tests.support.factories import client_of, make_user
from tests.support.stack import ROOT, free_port

KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
OTHER_KEY = KEY[::-1]
PASSWORDS = {
    "DATABASE_URL": "postgresql://shop:hush-database@127.0.0.1:1/shop",
    "REDIS_URL": "redis://:hush-redis@127.0.0.1:1/0",
    "AWS_STORAGE_BUCKET_NAME": "pictures",
    "AWS_ACCESS_KEY_ID": "hush-id",
    "AWS_SECRET_ACCESS_KEY": "hush-key",
}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One of our programs, with this environment and no other."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = kept | {"DJANGO_SETTINGS_MODULE": "imageextractor.settings"} | environment
    return fork_server.run_text(command, env=environment)


def example_environment(directory: Path) -> dict[str, str]:
    """Return the variables that scripts/compose-init and compose.yaml set, behind HTTPS."""
    for name in ("scripts/compose-init", "compose.env.example"):
        (directory / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    subprocess.run([directory / "scripts" / "compose-init"], check=True)
    made = dict(re.findall(r"^(\w+)=(.*)$", (directory / ".env").read_text(encoding="utf-8"), re.MULTILINE))
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    secrets = dict(re.findall(r"^    (\w+_FILE): /run/(secrets/\w+)$", compose, re.MULTILINE))
    assert {"SECRET_KEY_FILE", "DATABASE_URL_FILE", "AWS_SECRET_ACCESS_KEY_FILE"} <= secrets.keys()
    files = {name: str(directory / path) for name, path in secrets.items()}
    return made | files | {"REDIS_URL": "redis://redis:6379/0", "PUBLIC_URL": "https://images.example.com"}


# --- The start ---


@pytest.mark.needs("a process of its own")
@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY must be at least 50 random characters"),
        ({"SECRET_KEY": "ab" * 30}, "SECRET_KEY must be at least 50 random characters"),
        (
            {"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": f"{OTHER_KEY},short"},
            "SECRET_KEY_FALLBACKS must be at least 50 random characters",
        ),
        ({"SECRET_KEY": ""} | PASSWORDS, "SECRET_KEY must be set"),
        ({"ADMIN_EMAIL": "ann"}, "ADMIN_EMAIL must be an e-mail address"),
        ({"ADMIN_PASSWORD": "correct horse battery"}, "ADMIN_PASSWORD needs ADMIN_EMAIL"),
        ({"ALLOWED_HOSTS": "images.example.com, *"}, "ALLOWED_HOSTS must name each host"),
        ({"DEBUG": "1", "SERVE_BIND": "0.0.0.0:8000"}, "DEBUG shows settings and source"),
        ({"DEBUG": "1", "SERVE_BIND": "192.0.2.1:8000"}, "DEBUG shows settings and source"),
        ({"DEBUG": "1", "PUBLIC_URL": "https://images.example.com"}, "DEBUG shows settings and source"),
        (
            {"DEBUG": "1", "SERVE_BIND": "127.0.0.1:8000", "PUBLIC_URL": "https://images.example.com"},
            "DEBUG shows settings and source",
        ),
    ],
)
def test_what_is_unsafe_ends_the_start_with_a_sentence_that_holds_no_secret(
    tmp_path: Path, environment: dict[str, str], error: str
) -> None:
    done = run("manage.py", "check", DATA_DIR=str(tmp_path), **environment)
    assert done.returncode != 0
    assert error in done.stderr
    assert not re.search(r"hush|short|abab|0123456789abc|ZYXWVUTSRQ", done.stdout + done.stderr)


GUNICORN = ("-m", "gunicorn", "-c", "python:imageextractor.gunicorn_conf", "imageextractor.wsgi")


@pytest.mark.needs("a process of its own")
@pytest.mark.parametrize(
    "program",
    [("manage.py", "check"), ("manage.py", "rundramatiq"), GUNICORN],
    ids=lambda program: program[1],
)
def test_a_start_with_three_wrong_variables_names_all_three_without_a_traceback(
    program: tuple[str, ...], tmp_path: Path
) -> None:
    wrong = {"FETCH_TIMEOUT": "soon", "DEBUG": "maybe", "DATABASE_URL": "mysql://shop:hush@db/shop"}
    done = run(*program, DATA_DIR=str(tmp_path), **wrong)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines() == [
        "Error: 3 settings are wrong:",
        "  DEBUG must be one of 1, true, yes, on, 0, false, no, off, not 'maybe'.",
        "  DATABASE_URL must be a URL such as postgresql://user:password@host:5432/name.",
        "  FETCH_TIMEOUT must be a whole number of at least 1, not 'soon'.",
    ]


@pytest.mark.needs("a process of its own")
def test_a_setting_that_contradicts_another_is_named_with_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    done = run("manage.py", "check", DATA_DIR=str(file), DEBUG="1", SERVE_BIND="0.0.0.0:8000")
    first, *others = done.stderr.strip().splitlines()
    assert first == "Error: 2 settings are wrong:"
    assert [line.split()[0] for line in others] == ["DATA_DIR", "DEBUG"]


@pytest.mark.needs("a process of its own")
def test_sqlite_is_refused_where_redis_makes_a_cluster(tmp_path: Path) -> None:
    environment = {"SECRET_KEY": KEY, "REDIS_URL": PASSWORDS["REDIS_URL"], "DATA_DIR": str(tmp_path)}
    done = run("manage.py", "check", **environment)
    assert done.returncode != 0
    assert "DATABASE_URL must be a PostgreSQL URL where REDIS_URL is set, because" in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.needs("a process of its own")
def test_gunicorn_alone_does_not_serve_without_redis(tmp_path: Path) -> None:
    done = run(*GUNICORN, "--bind", f"127.0.0.1:{free_port()}", DATA_DIR=str(tmp_path))
    assert done.returncode != 0
    assert "start it with `manage.py serve`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.needs("a process of its own")
@pytest.mark.parametrize("bind", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
def test_debug_is_for_a_loopback_address(tmp_path: Path, bind: str) -> None:
    assert run("manage.py", "check", DATA_DIR=str(tmp_path), DEBUG="1", SERVE_BIND=bind).returncode == 0


@pytest.mark.needs("a process of its own")
def test_gunicorn_refuses_debug_on_an_address_of_its_own_that_others_reach(tmp_path: Path) -> None:
    environment = {"SECRET_KEY": KEY, "DATA_DIR": str(tmp_path), **PASSWORDS, "DEBUG": "1"}
    done = run(*GUNICORN, "--bind", f"0.0.0.0:{free_port()}", **environment)
    assert done.returncode != 0
    assert "DEBUG is accepted only on a loopback address" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.needs("a process of its own")
def test_a_refused_database_url_is_not_repeated(tmp_path: Path) -> None:
    for url in ("mysql://shop:hush@db/shop", "postgresql://shop:hush@db:none/shop", "redis://:hush@db"):
        done = run("manage.py", "check", DATA_DIR=str(tmp_path), SECRET_KEY=KEY, DATABASE_URL=url)
        assert "DATABASE_URL must be a URL" in done.stderr
        assert "hush" not in done.stderr


@pytest.mark.needs("a process of its own")
def test_the_settings_of_compose_pass_djangos_own_check_for_production(tmp_path: Path) -> None:
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **example_environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


# --- Secrets ---


@pytest.mark.needs("a process of its own")
def test_what_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    environment = {"SECRET_KEY": KEY, "DATA_DIR": str(tmp_path), **PASSWORDS}
    for command in (["migrate"], ["recover"], ["create_token", "ann"]):
        done = run("manage.py", *command, **environment)
        assert done.returncode != 0
        assert "hush" not in done.stdout + done.stderr
        assert KEY not in done.stdout + done.stderr


def test_the_debug_page_holds_no_secret(settings: Settings, monkeypatch: MonkeyPatch) -> None:
    settings.DEBUG = True
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "hush-secret", ["hush-earlier"]
    settings.REDIS_URL = "redis://:hush-redis@127.0.0.1"
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": settings.REDIS_URL}}
    settings.DRAMATIQ_BROKER = settings.DRAMATIQ_BROKER | {"OPTIONS": {"url": settings.REDIS_URL}}
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "hush-database")
    options = {"secret_key": "hush-s3", "access_key": "hush-id"}
    settings.STORAGES = {"default": settings.STORAGES["default"] | {"OPTIONS": options}}
    shown = get_default_exception_reporter_filter().get_safe_settings()
    assert "REDIS_URL" in shown
    assert "hush" not in str(shown)


@pytest.mark.django_db
@pytest.mark.needs("PostgreSQL and Redis")
def test_the_schema_and_its_page_hold_nothing_of_this_installation(client: Client) -> None:
    for path in ("/api/schema/", "/api/docs/", "/api/docs/requests/"):
        shown = client.get(path).content.decode()
        for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR"):
            assert os.environ[name] not in shown


# --- Keys ---


def test_sessions_and_signatures_outlive_a_key_as_long_as_it_is_among_the_fallbacks(
    db: None, settings: Settings
) -> None:
    client = Client()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = KEY, []
    user = make_user(password="a long password")
    assert client.post("/login/", {"username": "ann", "password": "a long password"}).status_code == 302
    signed = signing.dumps({"user": user.pk})
    other = client_of(user)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OTHER_KEY, [KEY]
    assert client.get("/account/").status_code == 200
    assert signing.loads(signed) == {"user": user.pk}
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get("/account/").status_code == 200, "it was signed anew when it was seen"
    assert other.get("/account/").status_code == 302, "it was not"
    with pytest.raises(signing.BadSignature):
        signing.loads(signed)
    assert User.objects.get() == user
