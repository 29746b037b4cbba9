"""All settings. They come from environment variables, which docs/configuration.md describes.

Three variables turn a single process into a cluster: `DATABASE_URL` (PostgreSQL), `REDIS_URL` (the broker)
and `AWS_STORAGE_BUCKET_NAME` (S3).
"""

import contextlib
import gc
import ipaddress
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from redis import ConnectionPool

from imageextractor import __version__, error_reports, storage_settings
from imageextractor.environment import env
from processing import tracing
from processing.webhooks.signing import key_of

# Nothing becomes garbage while modules are imported, and to look for it takes a sixth of a start. It is
# enabled again as the apps are ready (`processing/apps.py`).
gc.disable()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()

# --- Mode ------------------------------------------------------------------------------------------------
# Embedded mode: without Redis the worker's threads run in the web process. processing/runtime.py has the
# other differences between the modes.
REDIS_URL = env.text("REDIS_URL")
if REDIS_URL:
    try:
        ConnectionPool.from_url(REDIS_URL)  # connects to nothing yet
    except ValueError:
        env.refuse("REDIS_URL must be a URL such as redis://host:6379/0.")
EMBEDDED = REDIS_URL is None
if EMBEDDED:
    try:
        DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)  # catalogues and sessions are private
    except OSError as error:
        env.refuse(f"DATA_DIR must be a folder that can be written to: {error}.")
# `manage.py serve` sets SERVE_BIND to the address that it listens on.
SERVE_BIND = env.text("SERVE_BIND")
DEBUG = env.boolean("DEBUG", False)
# "All addresses" is none that a browser can open.
_own_address = re.sub(r"^(0\.0\.0\.0|\[::\]):", "localhost:", SERVE_BIND or "127.0.0.1:8000")
PUBLIC_URL = env.url("PUBLIC_URL") or f"http://{_own_address}"


def is_loopback(host: str | None) -> bool:
    """Return whether `host` is a loopback address, which other machines cannot connect to."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


_public = urlsplit(PUBLIC_URL)
_bind_host = SERVE_BIND.rpartition(":")[0].strip("[]") if SERVE_BIND else None
# Without a login everything belongs to the user `local`. The default is on only where no other machine can
# connect.
OPEN_ACCESS = env.boolean("OPEN_ACCESS", EMBEDDED and is_loopback(_bind_host))

if _public.path:
    env.refuse("PUBLIC_URL must be a scheme and a host without a path, such as https://images.example.com.")
_local_names = ["localhost", "127.0.0.1", "[::1]"] if EMBEDDED else []
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS") or [_public.hostname or "", *_local_names]
if "*" in ALLOWED_HOSTS:
    env.refuse("ALLOWED_HOSTS must name each host, such as images.example.com; * is refused.")
if DEBUG and not all(map(is_loopback, [_public.hostname, _bind_host or "localhost"])):
    env.refuse(
        "DEBUG shows settings and source code on error pages, so it is accepted only on a loopback address. "
        "Unset it, or serve on 127.0.0.1."
    )
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

# --- Secrets ---------------------------------------------------------------------------------------------
MIN_KEY_CHARACTERS = 50


def _require_strong(name: str, key: str) -> None:
    """Refuse a key that could be guessed, by the same rule as `check --deploy`."""
    if len(key) < MIN_KEY_CHARACTERS or len(set(key)) < 5:
        env.refuse(
            f"{name} must be at least {MIN_KEY_CHARACTERS} random characters, such as "
            "`openssl rand -base64 48` prints."
        )


def _secret_key() -> str:
    """Return the given key; in embedded mode, else the one that is generated once in DATA_DIR."""
    if key := env.text("SECRET_KEY"):
        _require_strong("SECRET_KEY", key)
        return key
    if not EMBEDDED:
        env.refuse("SECRET_KEY must be set to a random text of at least 50 characters.")
        return ""
    path = DATA_DIR / "secret_key"
    key = ""
    try:
        if not path.exists():
            with tempfile.NamedTemporaryFile("w", dir=DATA_DIR) as file:  # readable by its owner alone
                file.write(secrets.token_urlsafe(64))
                file.flush()
                with contextlib.suppress(FileExistsError):  # another process was faster; use its key
                    os.link(file.name, path)
        key = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        pass  # refused below
    except OSError as error:
        if DATA_DIR.is_dir():  # else the problem is noted above
            env.refuse(f"DATA_DIR must be a folder that can be written to: {error}.")
        return ""
    if len(key) < MIN_KEY_CHARACTERS:
        env.refuse(
            f"{path} is damaged: it should have at least {MIN_KEY_CHARACTERS} random characters. Restore it "
            "from a backup, or delete it: with a new one, people have to log in again, and webhooks need new "
            "secrets."
        )
    return key


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
for _key in SECRET_KEY_FALLBACKS:
    _require_strong("SECRET_KEY_FALLBACKS", _key)

# The first account, made at the start of the web server: products/accounts/first_account.py.
ADMIN_EMAIL = env.text("ADMIN_EMAIL")
ADMIN_PASSWORD = env.text("ADMIN_PASSWORD")
if ADMIN_EMAIL:
    try:
        validate_email(ADMIN_EMAIL)
    except ValidationError:
        env.refuse("ADMIN_EMAIL must be an e-mail address, such as ann@example.com.")
elif ADMIN_PASSWORD:
    env.refuse("ADMIN_PASSWORD needs ADMIN_EMAIL, the e-mail address to log in with.")

# --- Django ----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "imageextractor",
    "products",
    "products.accounts",
    "products.feeds",
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
    "drf_standardized_errors",
]
MIDDLEWARE = [
    "imageextractor.security.SecurityHeadersMiddleware",  # first, so that every answer has them
    "imageextractor.compression.CompressPagesMiddleware",  # compresses what all others answer
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "processing.logs.AccessLogMiddleware",
    "imageextractor.security.RefuseNulMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "products.accounts.authentication.OpenAccessMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "products.pages.polling.LoggedOutMiddleware",
    "products.pages.errors.DeletedRowMiddleware",
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
                "processing.monitoring.health.workers_context",
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
FORMAT_MODULE_PATH = "imageextractor.formats"
STATIC_URL = "static/"
# Without collectstatic, as in embedded mode, whitenoise serves the files from their source folders.
WHITENOISE_USE_FINDERS = EMBEDDED or DEBUG
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STATIC_ROOT = None if WHITENOISE_USE_FINDERS else BASE_DIR / "static"
SECURE_PROXY_SSL_HEADER = None
if _public.scheme == "https":
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = ["^(healthz|readyz|metrics)$"]  # called from inside, not through the proxy
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- Database --------------------------------------------------------------------------------------------


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
    try:
        database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except (ValueError, KeyError):
        database = {"ENGINE": ""}
    if database["ENGINE"] not in {"django.db.backends.postgresql", "django.db.backends.sqlite3"}:
        env.refuse("DATABASE_URL must be a URL such as postgresql://user:password@host:5432/name.")
    elif database["ENGINE"] == "django.db.backends.sqlite3":
        if not EMBEDDED:
            env.refuse(
                "DATABASE_URL must be a PostgreSQL URL where REDIS_URL is set, because several machines "
                "cannot share SQLite. Set DATABASE_URL=postgresql://… or unset REDIS_URL."
            )
        database["ENGINE"] = "imageextractor.sqlite"  # with a fair write lock for threads
        # IMMEDIATE: a transaction that will write takes the write lock first and so cannot fail half-way.
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return database


DATABASES = {"default": _database()}

# --- Cache -----------------------------------------------------------------------------------------------
# Holds only the counters of products/throttling.py, which all web processes share.
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {
            "MAX_ENTRIES": 100_000
        },  # with fewer, a client that tries many names could evict counters
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
# RedisBroker(url=…) ignores other connection options, so time limits in seconds are part of the URL.
_limits = urlencode({"socket_connect_timeout": 2, "socket_timeout": 5, "health_check_interval": 30})
_broker_url = f"{REDIS_URL}{'&' if '?' in str(REDIS_URL) else '?'}{_limits}"
# Traces are switched on by the standard variables of OpenTelemetry, which its libraries read themselves.
TRACES = tracing.is_wanted()
# No Retries and no TimeLimit middleware: actors handle every error and keep their own deadlines.
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.stub.StubBroker" if EMBEDDED else "processing.broker.RedisBroker",
    "OPTIONS": {} if EMBEDDED else {"url": _broker_url},
    "MIDDLEWARE": [
        "processing.logs.MessageMiddleware",
        *(["imageextractor.traces.MessageMiddleware"] if TRACES else []),
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["tasks", "feeds.tasks", "mail.tasks", "work.tasks"]  # in each app
DRAMATIQ_IGNORED_MODULES = ["django_dramatiq.tasks"]  # its only actor cleans a table that is not used here

# --- Files -----------------------------------------------------------------------------------------------
MEDIA_ROOT = DATA_DIR / "media"
MEDIA_URL = "/media/"
AWS_STORAGE_BUCKET_NAME = env.text("AWS_STORAGE_BUCKET_NAME")

# With signed URLs the bucket is private: /images/… redirects to a URL of the store that is signed.
AWS_S3_SIGNED_URLS = env.boolean("AWS_S3_SIGNED_URLS", False)
FETCH_CONCURRENCY = env.integer("FETCH_CONCURRENCY", 256)
STORAGES = storage_settings.local(DATA_DIR)
if AWS_STORAGE_BUCKET_NAME:
    try:
        STORAGES = storage_settings.s3(
            AWS_STORAGE_BUCKET_NAME, connections=FETCH_CONCURRENCY, signed=AWS_S3_SIGNED_URLS
        )
    except ImproperlyConfigured as error:
        env.refuse(str(error))
STORAGES["staticfiles"] = {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
    if WHITENOISE_USE_FINDERS
    else "whitenoise.storage.CompressedManifestStaticFilesStorage"
}
# Days after which workers delete finished Requests and files that no other Request uses; None for never.
RETENTION_DAYS = env.integer("RETENTION_DAYS", None)

# --- The work --------------------------------------------------------------------------------------------
UPLOAD_MAX_BYTES = env.integer("UPLOAD_MAX_BYTES", 200_000_000)
FILE_UPLOAD_HANDLERS = [
    "imageextractor.upload_handlers.LimitedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "imageextractor.upload_handlers.TemporaryFileHandler",
]
REQUEST_MAX_IMAGES = env.integer("REQUEST_MAX_IMAGES", 1_000_000)
USER_UPLOADS_PER_MINUTE = env.integer("USER_UPLOADS_PER_MINUTE", 300)
USER_MAX_OPEN_REQUESTS = env.integer("USER_MAX_OPEN_REQUESTS", 1_000)
USER_MAX_OPEN_IMAGES = env.integer("USER_MAX_OPEN_IMAGES", 5_000_000)
FETCH_ALLOWED_NETWORKS = env.networks("FETCH_ALLOWED_NETWORKS")
FETCH_PER_HOST = env.integer("FETCH_PER_HOST", 16)
FETCH_TIMEOUT = env.integer("FETCH_TIMEOUT", 30)
FETCH_MAX_BYTES = env.integer("FETCH_MAX_BYTES", 50_000_000)
FETCH_USER_AGENT = env.text("FETCH_USER_AGENT", "ImageExtractor/0.2")
IMAGE_MAX_PIXELS = env.integer("IMAGE_MAX_PIXELS", 50_000_000)
# Only for tests, and so not in docs/configuration.md: shortens the times in processing/timing.py.
TEST_TIME_SCALE = env.fraction("TEST_TIME_SCALE", 1)

# --- Webhooks --------------------------------------------------------------------------------------------
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
WEBHOOK_TIMEOUT = env.integer("WEBHOOK_TIMEOUT", 15)
INBOUND_WEBHOOK_SECRET = env.text("INBOUND_WEBHOOK_SECRET")
if INBOUND_WEBHOOK_SECRET:
    try:
        key_of(INBOUND_WEBHOOK_SECRET)
    except ValueError as error:
        env.refuse(f"INBOUND_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes: {error}.")

# --- E-mail ----------------------------------------------------------------------------------------------
DEFAULT_FROM_EMAIL = f"Image Extractor <noreply@{_public.hostname}>"
EMAIL_TIMEOUT = 10
globals().update(env.email("EMAIL_URL"))

# --- API -------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "products.accounts.authentication.TokenAuthentication",
        "products.accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "products.api.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
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
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        **{name: f"products.models.{name}" for name in ("RequestStatus", "ImageStatus")},
        "FeedRunStatus": "products.feeds.serializers.STATUSES",
        "WhenUnchanged": "products.feeds.models.WhenUnchanged",
        "DeliveryStatus": "processing.webhooks.models.DeliveryStatus",
        "ReportStatus": "processing.webhooks.serializers.REPORTED",
        "ReplayStatus": "processing.webhooks.serializers.REPLAYABLE",
    },
}

# --- Logging ---------------------------------------------------------------------------------------------
LOG_FORMAT = env.choice("LOG_FORMAT", "text", "json")
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
        # Embedded mode has two workers on purpose; dramatiq would warn of the second.
        "dramatiq.broker.StubBroker": {"level": "ERROR"},
    },
}

# --- Error reports ---------------------------------------------------------------------------------------
SENTRY_DSN = env.text("SENTRY_DSN")
if SENTRY_DSN:
    try:
        error_reports.start(SENTRY_DSN)
    except ImproperlyConfigured as error:
        env.refuse(str(error))

# --- Traces ----------------------------------------------------------------------------------------------
if TRACES:
    try:
        from imageextractor import traces

        traces.start()
    except ImportError:
        env.refuse(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the extra `otel`: pip install -r requirements-extras.lock."
        )
    except ImproperlyConfigured as error:
        env.refuse(str(error))

env.check()
