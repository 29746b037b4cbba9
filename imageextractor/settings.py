"""Every setting, from environment variables alone. docs/configuration.md describes each of them.

Three variables make a cluster of what is otherwise one process on a laptop: `DATABASE_URL` (PostgreSQL),
`REDIS_URL` (the broker) and `AWS_STORAGE_BUCKET_NAME` (S3).
"""

import contextlib
import ipaddress
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from imageextractor import storages
from imageextractor.environment import (
    env,
    env_bool,
    env_choice,
    env_email,
    env_int,
    env_list,
    env_networks,
    env_url,
)
from processing.webhooks.signing import key_of

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env("DATA_DIR", str(BASE_DIR / "var"))).resolve()

# --- How it runs -----------------------------------------------------------------------------------------
# Embedded: no Redis, so that the worker's threads live in the serving process. `manage.py serve` says by
# SERVE_BIND where it listens; what follows from that address is decided here, once.
REDIS_URL = env("REDIS_URL")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must be a URL such as redis://host:6379/0.")
EMBEDDED = REDIS_URL is None
if EMBEDDED:
    try:
        DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)  # catalogues and sessions are nobody else's
    except OSError as error:
        raise ImproperlyConfigured(f"DATA_DIR must be a folder that can be written to: {error}.") from error
SERVE_BIND = env("SERVE_BIND")
DEBUG = env_bool("DEBUG", False)
PUBLIC_URL = env_url("PUBLIC_URL") or f"http://{SERVE_BIND or '127.0.0.1:8000'}"


def is_loopback(host: str | None) -> bool:
    """Is this host this very machine, so that nobody else can connect?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


_public = urlsplit(PUBLIC_URL)
_bind_host = SERVE_BIND.rpartition(":")[0].strip("[]") if SERVE_BIND else None
# Without a login everything belongs to the user `local`: on by itself only where nobody else can connect.
OPEN_ACCESS = env_bool("OPEN_ACCESS", EMBEDDED and is_loopback(_bind_host))

if _public.path:
    raise ImproperlyConfigured(f"PUBLIC_URL is scheme and host alone, without a path: not {PUBLIC_URL!r}.")
_local_names = ["localhost", "127.0.0.1", "[::1]"] if EMBEDDED else []
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS") or [_public.hostname or "", *_local_names]
if "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS must name each host, such as images.example.com; * is refused.")
if DEBUG and not all(map(is_loopback, [_public.hostname, _bind_host or "localhost"])):
    raise ImproperlyConfigured(
        "DEBUG shows settings and source to whoever causes an error: it is for a loopback address alone. "
        "Unset it, or serve on 127.0.0.1."
    )
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

# --- Secrets ---------------------------------------------------------------------------------------------


def _strong(name: str, key: str) -> str:
    """The key, unless it could be guessed. Never part of the message: that ends up in logs."""
    if len(key) < 50 or len(set(key)) < 5:  # as `check --deploy` has it
        raise ImproperlyConfigured(
            f"{name} must be at least 50 random characters, such as `openssl rand -base64 48` prints."
        )
    return key


def _secret_key() -> str:
    """The given key; embedded, one that is made once and kept in DATA_DIR for its owner alone."""
    if key := env("SECRET_KEY"):
        return _strong("SECRET_KEY", key)
    if not EMBEDDED:
        raise ImproperlyConfigured("SECRET_KEY must be set: a random text of at least 50 characters.")
    path = DATA_DIR / "secret_key"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=DATA_DIR) as file:  # readable by its owner alone
            file.write(secrets.token_urlsafe(64))
            file.flush()
            with contextlib.suppress(FileExistsError):  # another process was faster: its key is taken
                os.link(file.name, path)
    return path.read_text()


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = [_strong("SECRET_KEY_FALLBACKS", key) for key in env_list("SECRET_KEY_FALLBACKS")]

# --- Django ----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "imageextractor",
    "products",
    "products.accounts",
    "processing",
    "processing.webhooks",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_dramatiq",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
]
MIDDLEWARE = [
    "imageextractor.security.SecurityHeadersMiddleware",  # first, so that every answer has them
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "processing.logs.AccessLogMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "products.accounts.authentication.OpenAccessMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "imageextractor.urls"
WSGI_APPLICATION = "imageextractor.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "processing.monitoring.context_processors.workers",
                "processing.webhooks.context_processors.webhooks",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
DEFAULT_EXCEPTION_REPORTER_FILTER = "imageextractor.security.ReporterFilter"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# Embedded nothing has run collectstatic: whitenoise finds the files where they lie.
WHITENOISE_USE_FINDERS = EMBEDDED or DEBUG
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STATIC_ROOT = None if WHITENOISE_USE_FINDERS else BASE_DIR / "static"
SECURE_PROXY_SSL_HEADER = None
if _public.scheme == "https":
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = ["^(healthz|readyz|metrics)$"]  # asked from inside, past the proxy
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- Database --------------------------------------------------------------------------------------------


def _database() -> dict[str, Any]:
    url = env("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
    try:
        database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except (ValueError, KeyError):
        database = {"ENGINE": ""}
    if database["ENGINE"] not in {"django.db.backends.postgresql", "django.db.backends.sqlite3"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must be a URL such as postgresql://user:password@host:5432/name."
        )
    if database["ENGINE"] == "django.db.backends.sqlite3":
        if not EMBEDDED:
            raise ImproperlyConfigured(
                "REDIS_URL is set, but DATABASE_URL is not a PostgreSQL URL: SQLite cannot be shared by "
                "several worker machines. Set DATABASE_URL=postgresql://… or unset REDIS_URL."
            )
        # IMMEDIATE: a transaction that will write takes the write lock first and so cannot fail half-way.
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return database


DATABASES = {"default": _database()}

# --- Cache -----------------------------------------------------------------------------------------------
# Holds nothing but the counters of products/limits.py, which all web processes have to share.
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # fewer could be pushed out by whoever tries many names
    }
    if EMBEDDED
    else {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "imageextractor",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
}

# --- Broker ----------------------------------------------------------------------------------------------


def _broker_options() -> dict[str, Any]:
    if EMBEDDED:
        return {}
    # RedisBroker(url=…) hands no other options on: time limits have to stand in the URL.
    limits = urlencode({"socket_connect_timeout": 2, "socket_timeout": 5, "health_check_interval": 30})
    return {"url": f"{REDIS_URL}{'&' if '?' in str(REDIS_URL) else '?'}{limits}"}


# No Retries and no TimeLimit: actors end every error themselves and keep deadlines of their own.
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.stub.StubBroker" if EMBEDDED else "processing.broker.RedisBroker",
    "OPTIONS": _broker_options(),
    "MIDDLEWARE": [
        "processing.logs.MessageMiddleware",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["tasks", "work.tasks"]  # below each app
DRAMATIQ_IGNORED_MODULES = ["django_dramatiq.tasks"]  # its one actor cleans a table that is not used here
# How long an idle consumer of Redis sleeps, in ms. `rundramatiq` hands the environment on to its workers.
os.environ.setdefault("dramatiq_worker_timeout", "100")

# --- Files -----------------------------------------------------------------------------------------------
MEDIA_ROOT = DATA_DIR / "media"
MEDIA_URL = "/media/"
AWS_STORAGE_BUCKET_NAME = env("AWS_STORAGE_BUCKET_NAME")

# Yes: the bucket stays closed, and pictures are read at /images/… here, which leads on to a signed address.
AWS_S3_SIGNED_URLS = env_bool("AWS_S3_SIGNED_URLS", False)
FETCH_CONCURRENCY = env_int("FETCH_CONCURRENCY", 32)
if AWS_STORAGE_BUCKET_NAME:
    STORAGES = storages.s3(AWS_STORAGE_BUCKET_NAME, connections=FETCH_CONCURRENCY, signed=AWS_S3_SIGNED_URLS)
else:
    STORAGES = storages.local(DATA_DIR)
STORAGES["staticfiles"] = {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
    if WHITENOISE_USE_FINDERS
    else "whitenoise.storage.CompressedManifestStaticFilesStorage"
}
# Days after which workers delete finished Requests and what only those needed; unset, they never do.
RETENTION_DAYS = env_int("RETENTION_DAYS", None)

# --- The work --------------------------------------------------------------------------------------------
UPLOAD_MAX_BYTES = env_int("UPLOAD_MAX_BYTES", 200_000_000)
FILE_UPLOAD_HANDLERS = [
    "imageextractor.uploads.LimitedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
REQUEST_MAX_IMAGES = env_int("REQUEST_MAX_IMAGES", 1_000_000)
USER_UPLOADS_PER_MINUTE = env_int("USER_UPLOADS_PER_MINUTE", 300)
USER_MAX_OPEN_REQUESTS = env_int("USER_MAX_OPEN_REQUESTS", 1_000)
USER_MAX_OPEN_IMAGES = env_int("USER_MAX_OPEN_IMAGES", 5_000_000)
FETCH_ALLOWED_NETWORKS = env_networks("FETCH_ALLOWED_NETWORKS")
FETCH_PER_HOST = env_int("FETCH_PER_HOST", 16)
FETCH_TIMEOUT = env_int("FETCH_TIMEOUT", 30)
FETCH_MAX_BYTES = env_int("FETCH_MAX_BYTES", 50_000_000)
FETCH_USER_AGENT = env("FETCH_USER_AGENT", "ImageExtractor/0.1")
IMAGE_MAX_PIXELS = env_int("IMAGE_MAX_PIXELS", 50_000_000)

# --- Webhooks --------------------------------------------------------------------------------------------
WEBHOOK_ALLOWED_NETWORKS = env_networks("WEBHOOK_ALLOWED_NETWORKS")
WEBHOOK_TIMEOUT = env_int("WEBHOOK_TIMEOUT", 15)


def _inbound_secret() -> str | None:
    secret = env("INBOUND_WEBHOOK_SECRET")
    try:
        if secret is not None:
            key_of(secret)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"INBOUND_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes: {error}."
        ) from error
    return secret


INBOUND_WEBHOOK_SECRET = _inbound_secret()

# --- E-mail ----------------------------------------------------------------------------------------------
DEFAULT_FROM_EMAIL = f"Image Extractor <noreply@{_public.hostname}>"
EMAIL_TIMEOUT = 10
globals().update(env_email("EMAIL_URL"))

# --- API -------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "products.accounts.authentication.TokenAuthentication",
        "products.accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "products.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "products.api.errors.ExceptionHandler",
    "EXCEPTION_FORMATTER_CLASS": "products.api.errors.ExceptionFormatter",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Image Extractor",
    "DESCRIPTION": "Catalogues in, compressed pictures out.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        **{name: f"products.models.{name}" for name in ("RequestStatus", "ImageStatus")},
        "DeliveryStatus": "processing.webhooks.models.DeliveryStatus",
        "ReportStatus": "processing.webhooks.serializers.REPORTED",
        "ReplayStatus": "processing.webhooks.serializers.REPLAYABLE",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
}

# --- Logging ---------------------------------------------------------------------------------------------
LOG_FORMAT = env_choice("LOG_FORMAT", "text", "json")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "()": "processing.logs.TextFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
        "json": {"()": "processing.logs.JsonFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        **{name: {"level": "WARNING"} for name in ("dramatiq", "httpx")},
        # Embedded there are two workers on purpose; it would warn of the second.
        "dramatiq.broker.StubBroker": {"level": "ERROR"},
    },
}
