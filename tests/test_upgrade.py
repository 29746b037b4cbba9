"""Upgrades while the version before still works: its code on the new tables, its messages in new workers."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import dramatiq
import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.webhooks import delivery_attempt
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.work import pipeline
from products import lifecycle
from products.lifecycle import sweeps
from products.models import Image, Request
from tests.imageextractor.test_settings import run
from tests.processing.conftest import Broker
from tests.support.batches import ingested, make_urls, submitted
from tests.support.factories import JPEG, make_user
from tests.support.origin import Answer, Origin
from tests.support.parallel import wait_until
from tests.support.stack import ROOT

OURS = ("products", "accounts", "feeds", "processing", "webhooks")


# --- Tables ---


def versions() -> list[tuple[str, str]]:
    """Return every migration of ours; the code that came with it may still run on the newest tables."""
    return sorted(key for key in MigrationLoader(None).disk_migrations if key[0] in OURS)


def models_at(version: tuple[str, str]) -> list[type[models.Model]]:
    """Return the app's models as the code that came with this migration knows them."""
    known = MigrationLoader(None).project_state([version]).apps.get_models()
    return [model for model in known if model._meta.app_label == version[0]]


def instance(model: type[Any], made: dict[str, Any]) -> Any:
    """A new row with what has to be said, as old code would insert it; rows it depends on are made first."""
    values = {}
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey):
            if not field.null:
                values[field.name] = made.get(field.related_model._meta.label) or instance(
                    field.related_model, made
                )
        elif not field.has_default() and not field.null and not field.blank and not field.primary_key:
            values[field.name] = filler(field)
        elif isinstance(field, models.UUIDField) and field.primary_key and not field.has_default():
            values[field.name] = uuid4()
    made[model._meta.label] = row = model.objects.create(**values)
    return row


def filler(field: Any) -> Any:
    """A value of the field's type."""
    values: dict[type[Any], Any] = {
        models.DateTimeField: timezone.now(),
        models.BooleanField: True,
        models.IntegerField: 1,
        models.UUIDField: uuid4(),
        models.JSONField: [],
        models.BinaryField: b"x",
    }
    return next((value for kind, value in values.items() if isinstance(field, kind)), "x")


@pytest.mark.needs("PostgreSQL")
@pytest.mark.django_db
@pytest.mark.parametrize("version", versions(), ids=".".join)
def test_the_code_of_every_version_works_on_the_newest_tables(version: tuple[str, str]) -> None:
    made: dict[str, Any] = {}
    old = models_at(version)
    assert old
    for model in old:
        if model._meta.label not in made:
            instance(model, made)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for model in old:
        row = model._default_manager.get(pk=made[model._meta.label].pk)
        row.save()
    for label in reversed(list(made)):
        made[label].delete()


@pytest.mark.needs("a process of its own")
def test_a_database_of_the_first_version_is_refused_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        database.executescript((ROOT / "tests" / "databases" / "0.1.0.sql").read_text(encoding="utf-8"))
        before = list(database.iterdump())
    for command in ("serve", "migrate", "extract"):
        arguments = ["catalogue.csv"] if command == "extract" else []
        done = run("manage.py", command, *arguments, DATA_DIR=str(tmp_path))
        assert done.returncode in (1, 3)
        assert "is of version 0.1.0, which cannot be upgraded" in done.stderr
        assert "Traceback" not in done.stderr
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        assert list(database.iterdump()) == before


# --- Messages ---

#: As version 0.2.0 puts it into Redis. What changes has to be understood as well as this, not instead.
MESSAGE = (
    '{"queue_name":"%(queue)s","actor_name":"%(actor)s","args":%(args)s,"kwargs":{},'
    '"options":{"redis_message_id":"%(key)s"},"message_id":"8649b818-9b28-4ece-a5bc-c21ae5897662",'
    '"message_timestamp":1795373399993}'
)


@pytest.fixture
def old_message() -> Iterator[Any]:
    """A function that leaves one message of an earlier version in Redis, and starts a worker."""
    broker = Broker()
    with ExitStack() as stack:
        stack.callback(broker.flush_all)

        def put(actor: str, args: str, queue: str = "images") -> None:
            broker.flush_all()
            key = str(uuid4())
            text = MESSAGE % {"queue": queue, "actor": actor, "args": args, "key": key}
            client: Any = dramatiq.get_broker().client  # type: ignore[attr-defined]
            client.hset(f"dramatiq:{queue}.msgs", key, text)
            client.rpush(f"dramatiq:{queue}", key)
            worker = dramatiq.Worker(dramatiq.get_broker(), worker_threads=2, worker_timeout=50)
            worker.start()
            stack.callback(worker.stop)

        yield put


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: MonkeyPatch, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """No worker runs in this process yet; outputs go to `tmp_path`, webhooks to loopback."""
    monkeypatch.setattr(pipeline, "_current", None)
    settings.FETCH_CONCURRENCY, settings.FETCH_PER_HOST = 8, 4
    settings.MEDIA_ROOT = tmp_path
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    delivery_attempt.shared_transport.cache_clear()
    yield
    delivery_attempt.shared_transport.cache_clear()


@pytest.mark.needs("Redis")
@pytest.mark.django_db(transaction=True)
def test_an_ingest_is_understood(old_message: Any) -> None:
    batch = submitted(*make_urls(3))
    old_message("ingest", f'["{batch.pk}",{batch.epoch}]')
    wait_until(lambda: Request.objects.get().ingested)


@pytest.mark.needs("Redis")
@pytest.mark.django_db(transaction=True)
def test_a_lane_is_understood(old_message: Any, origin: Origin) -> None:
    batch = ingested(origin.add("/a.jpg", Answer(JPEG)))
    old_message("work", f'["{batch.pk}",{batch.epoch}]')
    wait_until(lambda: Image.objects.get().status == "completed")


@pytest.mark.needs("Redis")
@pytest.mark.django_db(transaction=True)
def test_a_sweep_is_understood(old_message: Any, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "SWEEP_ROWS", 1)
    batch = ingested(*make_urls(3))
    lifecycle.cancel(batch)
    batch.refresh_from_db()
    assert batch.sweep
    old_message("sweep", f'["{batch.pk}",{batch.epoch}]')
    wait_until(lambda: not Request.objects.get().sweep)


@pytest.mark.needs("Redis")
@pytest.mark.django_db(transaction=True)
def test_a_delivery_is_understood(old_message: Any, origin: Origin) -> None:
    url = origin.add("/hook", Answer(b"thanks"))
    endpoint = WebhookEndpoint.objects.create(owner=make_user(), url=url)
    WebhookDelivery.objects.create(endpoint=endpoint, event="test", payload="{}")
    # As if its message were on its way, so that recovery sends none.
    WebhookEndpoint.objects.update(enqueued_at=timezone.now())
    old_message("deliver", f'["{endpoint.pk}"]', queue="webhooks")
    wait_until(lambda: WebhookDelivery.objects.get().status == DeliveryStatus.DELIVERED)
