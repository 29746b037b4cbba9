"""The admin of workers, hosts and webhooks: lists, pages and actions."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from processing.compress import native
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products import lifecycle
from products.models import Image, Request
from tests.processing.conftest import Broker
from tests.support.factories import URL, client_of, ingest, make_user, settle, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


@pytest.fixture
def ann() -> User:
    return make_user()


@pytest.fixture
def boss() -> Client:
    return client_of(make_user("boss", is_staff=True, is_superuser=True))


@pytest.fixture
def viewer() -> Client:
    user = make_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return client_of(user)


@pytest.fixture
def endpoint(ann: User) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")


def finished(owner: User) -> Request:
    return settle(ingest(submit(owner)), {URL: "dns"})


def act(client: Client, action: str, *rows: Model, **answer: str) -> Any:
    meta = rows[0]._meta
    path = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return client.post(path, {"action": action, "_selected_action": [row.pk for row in rows], **answer})


def on_page(client: Client, action: str, row: Model, **answer: str) -> Any:
    path = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return client.post(path, {"action": action, "_selected_action": [row.pk], **answer})


def test_a_webhook_goes_out_again_with_its_id(
    boss: Client, ann: User, endpoint: WebhookEndpoint, broker: Broker
) -> None:
    batch = finished(ann)
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.update(status="delivered", next_attempt_at=None)
    broker.flush_all()
    act(boss, "resend", batch)
    again = WebhookDelivery.objects.get()
    assert (again.pk, again.payload, again.status) == (delivery.pk, delivery.payload, "pending")
    assert set(broker.endpoints()) == {str(endpoint.pk)}


def test_an_endpoint_that_came_later_is_told_for_the_first_time(boss: Client, ann: User) -> None:
    batch = finished(ann)
    endpoint = WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")
    on_page(boss, "resend", batch)
    assert WebhookDelivery.objects.get().endpoint == endpoint


def test_nothing_is_sent_of_a_request_at_work_or_to_a_disabled_endpoint(
    boss: Client, ann: User, endpoint: WebhookEndpoint
) -> None:
    act(boss, "resend", ingest(submit(ann)))
    assert not WebhookDelivery.objects.exists()
    batch = finished(ann)
    endpoint.disable()
    act(boss, "resend", batch)
    assert WebhookDelivery.objects.get().status == "missed"


def test_what_was_done_to_a_row_is_in_its_history(boss: Client, ann: User, endpoint: WebhookEndpoint) -> None:
    batch = finished(ann)
    act(boss, "resend", batch)
    act(boss, "retry", batch)
    on_page(boss, "cancel", batch, confirmed="yes")
    on_page(boss, "cancel", batch, confirmed="yes")  # too late: nothing is done
    act(boss, "disable", endpoint, confirmed="yes", reason="It is slow.")
    notes = LogEntry.objects.order_by("pk").values_list("object_id", "change_message")
    assert list(notes) == [
        *((str(batch.pk), note) for note in ("Webhooks redelivered.", "Retried.", "Canceled.")),
        (str(endpoint.pk), "Disabled. It is slow."),
    ]


def test_a_list_by_status_notes_what_was_tried_again(boss: Client, ann: User) -> None:
    batch = finished(ann)
    path = reverse("admin:products_request_changelist")
    form = {"action": "retry", "_selected_action": [batch.pk]}
    boss.post(f"{path}?status__exact=failed", form)
    assert Request.objects.get().is_active
    assert LogEntry.objects.get().change_message == "Retried."


def test_finished_requests_are_pruned_after_a_question(boss: Client, ann: User) -> None:
    done, at_work = finished(ann), ingest(submit(ann))
    question = act(boss, "prune", done, at_work)
    assert str(done.pk) in question.content.decode()
    assert Request.objects.count() == 2
    act(boss, "prune", done, at_work, confirmed="yes")
    assert list(Request.objects.all()) == [at_work]
    assert not Image.objects.filter(request=done.pk).exists()


def test_all_that_a_list_shows_is_taken_where_that_was_chosen(boss: Client, ann: User) -> None:
    batches = [finished(ann) for _ in range(3)]
    question = act(boss, "prune", batches[0], select_across="1")
    assert all(str(batch.pk) in question.content.decode() for batch in batches)
    assert '<input type="hidden" name="select_across" value="1">' in question.content.decode()
    act(boss, "prune", batches[0], select_across="1", confirmed="yes")
    assert not Request.objects.exists()


def test_a_reason_is_needed(boss: Client, endpoint: WebhookEndpoint) -> None:
    answer = on_page(boss, "disable", endpoint, confirmed="yes", reason="")
    assert "This field is required." in answer.content.decode()
    endpoint.refresh_from_db()
    assert endpoint.enabled


def test_who_may_only_look_changes_nothing(viewer: Client, ann: User, endpoint: WebhookEndpoint) -> None:
    done, at_work = finished(ann), ingest(submit(ann))
    WebhookDelivery.objects.update(status="failed", next_attempt_at=None)
    delivery = WebhookDelivery.objects.get()

    def state() -> list[Any]:
        return [list(model.objects.values()) for model in (Request, WebhookEndpoint, WebhookDelivery)]

    before = state()
    for send in (act, on_page):
        for action in ("retry", "cancel", "rename", "repeat", "prune", "resend"):
            for batch in (done, at_work):
                send(viewer, action, batch, confirmed="yes")
        send(viewer, "disable", endpoint, confirmed="yes", reason="No.")
        send(viewer, "redeliver", delivery)
    assert state() == before
    assert not LogEntry.objects.exists()
    export = on_page(viewer, "export", done)
    assert b"".join(export.streaming_content).startswith(b"Serial Number,")


def test_who_may_not_look_cannot_act_by_the_page(ann: User) -> None:
    batch = ingest(submit(ann))
    user = make_user("staff", is_staff=True)
    assert on_page(client_of(user), "cancel", batch).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="change_webhookdelivery"))
    assert on_page(client_of(user), "resend", batch).status_code == 403


def test_each_action_needs_the_right_of_its_own_model(ann: User, endpoint: WebhookEndpoint) -> None:
    batch = finished(ann)
    user = make_user("staff", is_staff=True)
    rights = ("view_request", "delete_request")
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = client_of(user)
    path = reverse("admin:products_request_change", args=[batch.pk])
    assert [name for name, _label in client.get(path).context["row_actions"]] == ["export", "prune"]
    act(client, "retry", batch)
    assert not Request.objects.get().is_active
    act(client, "prune", batch, confirmed="yes")
    assert not Request.objects.exists()


def test_a_page_offers_what_can_be_done(boss: Client, ann: User, endpoint: WebhookEndpoint) -> None:
    def offered(row: Model) -> set[str]:
        path = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
        return {name for name, _label in boss.get(path).context["row_actions"]}

    assert offered(ingest(submit(ann))) == {"cancel", "rename", "repeat", "export"}
    assert offered(finished(ann)) == {"retry", "rename", "repeat", "export", "prune", "resend"}
    assert offered(endpoint) == {"disable"}
    endpoint.disable()
    endpoint.refresh_from_db()
    assert offered(endpoint) == {"enable"}


def test_an_action_on_a_row_that_is_gone_leads_away(boss: Client, ann: User) -> None:
    batch = finished(ann)
    lifecycle.delete(batch)
    assert on_page(boss, "retry", batch).status_code == 302


def test_the_first_page_says_since_when_nobody_works(boss: Client, ann: User) -> None:
    submit(ann)
    Worker.objects.create(host="gone", seen_at=timezone.now() - timedelta(hours=1))
    assert "no worker has been seen since" in boss.get("/admin/").content.decode()
    Worker.objects.create(host="here")
    shown = boss.get("/admin/").content.decode()
    assert "no worker has been seen since" not in shown
    assert "here:" in shown and "gone:" in shown


def test_the_first_page_says_how_jpegs_are_recompressed(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for has_library, expected in ((True, "coefficients, by"), (False, "pixels, since")):
        monkeypatch.setattr(native, "library", lambda found=has_library: found or None)
        assert f"JPEG codec on this machine: {expected}" in boss.get(reverse("admin:index")).content.decode()


def test_the_first_page_says_that_it_counts_the_latest_only(
    boss: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Pictures in the last hour" in boss.get("/admin/").content.decode()
    finished(ann)
    finished(ann)
    monkeypatch.setattr("products.models.image.COUNTED_OUTCOMES", 1)
    assert "pictures, since" in boss.get("/admin/").content.decode()


def test_the_first_page_shows_only_what_one_may_see(ann: User) -> None:
    user = make_user("staff", is_staff=True)
    assert "Waiting" not in client_of(user).get("/admin/").content.decode()
    user.user_permissions.set(Permission.objects.filter(codename="view_worker"))
    shown = client_of(user).get("/admin/").content.decode()
    assert "<h2>Workers</h2>" in shown
    assert "Waiting" not in shown and "Pictures in the last hour" not in shown


def test_the_first_page_costs_as_many_queries_for_many_rows_as_for_one(
    boss: Client, ann: User, endpoint: WebhookEndpoint, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(4):
        finished(ann)
        submit(ann)
        Worker.objects.create(host=f"worker {number}")
    with django_assert_max_num_queries(15):
        boss.get("/admin/")


@pytest.mark.parametrize(
    "model", ["webhooks_webhookendpoint", "webhooks_webhookdelivery", "processing_worker"]
)
def test_lists_cost_as_many_queries_for_many_rows_as_for_one(
    boss: Client, ann: User, model: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(4):
        WebhookEndpoint.objects.create(owner=make_user(f"user {number}"), url="https://shop.example/hook")
        Worker.objects.create(host=f"worker {number}")
        finished(User.objects.get(username=f"user {number}"))
    with django_assert_max_num_queries(4):  # the session, the user, the count, the rows
        boss.get(reverse(f"admin:{model}_changelist"))
