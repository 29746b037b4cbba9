"""Webhooks in real processes: a step of the schedule waited for, workers killed, many endpoints at once."""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from tests.support.jobs import FINISHED, as_csv
from tests.support.origin import Answer, Handler, Origin, Route
from tests.support.pictures import photo_jpeg
from tests.support.receivers import messages
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, Deployment, Embedded, wait_for

pytestmark = pytest.mark.timeout(900)

OK = Answer(b"thanks")
ENDPOINTS, EVENTS = 20, 50
#: Events for each endpoint of the one user, in one go; the path of an endpoint's URL is its number.
BURST = """
from processing.webhooks.models import *
from processing.webhooks.tasks import enqueue_deliveries
rows = list(WebhookEndpoint.objects.all())
WebhookDelivery.objects.bulk_create(
    WebhookDelivery(endpoint=row, event="test", payload='{{"type":"test","timestamp":"","data":{{}}}}')
    for _ in range({events}) for row in rows
)
enqueue_deliveries([row.pk for row in rows])
"""

SERVED = "SELECT count(*) FROM webhooks_webhookdelivery WHERE event = 'test' AND status = 'delivered'"
#: Seconds from the burst to the last of those that got through.
LAST_SERVED = """
    SELECT extract(epoch FROM max((attempts->0->>'at')::timestamptz) - min(created_at))::float
    FROM webhooks_webhookdelivery WHERE event = 'test' AND status = 'delivered'
"""


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
        yield client


def register(client: httpx.Client, url: str) -> dict[str, Any]:
    found: dict[str, Any] = client.post("/api/webhooks/", json={"url": url}).raise_for_status().json()
    return found


def finish_a_request(client: httpx.Client, origin: Origin) -> str:
    """Upload a picture and return the Request's id once it is done."""
    rows = [["1", "Lamp", origin.add("/lamp.jpg", photo_jpeg(60, 40))]]
    answer = client.post("/api/requests/", files={"file": ("lamps.csv", as_csv(rows))})
    key: str = answer.raise_for_status().json()["id"]
    wait_for(lambda: finished(client, key), "it finishes")
    return key


def delivery(deployment: Deployment) -> tuple[str, str]:
    """Id and status of the only delivery there is."""
    ((key, status),) = deployment.query("SELECT id, status FROM webhooks_webhookdelivery")
    return str(key).replace("-", ""), status


def ids(origin: Origin, path: str, secret: str) -> list[str]:
    return [message["id"].replace("-", "") for message in messages(origin, path, secret)]


class Answers:
    """A route that answers in turn, the last for ever, and notes when it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked_at: list[float] = []

    def __call__(self, handler: Handler) -> None:
        self.asked_at.append(time.monotonic())
        handler.answer(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


class Hold:
    """A route that answers nothing until it is opened."""

    def __init__(self) -> None:
        self.opened, self.reached = Event(), Event()

    def __call__(self, handler: Handler) -> None:
        self.reached.set()
        self.opened.wait(60)
        handler.answer(OK)


def test_a_receiver_that_fails_twice_is_told_at_the_third_attempt_five_seconds_and_a_step_later(
    cluster: Cluster, client: httpx.Client, origin: Origin
) -> None:
    route = Answers(Answer(status=500), Answer(status=500), OK)
    endpoint = register(client, origin.add("/hook", route))
    cluster.webhooks()
    finish_a_request(client, origin)
    wait_for(lambda: len(route.asked_at) == 2, "the second attempt, in real time")
    assert route.asked_at[1] - route.asked_at[0] >= 4.9
    waits = "SELECT status FROM webhooks_webhookdelivery WHERE failures = 2"
    wait_for(lambda: cluster.query(waits), "the failure is recorded")
    # The step of five minutes: the clock is moved.
    cluster.query("UPDATE webhooks_webhookdelivery SET next_attempt_at = now() RETURNING 1")
    wait_for(lambda: delivery(cluster)[1] == "delivered", "the third attempt")
    assert ids(origin, "/hook", endpoint["secret"]) == [delivery(cluster)[0]] * 3


def test_a_worker_killed_between_finish_and_delivery_with_all_messages_lost_costs_only_time(
    cluster: Cluster, client: httpx.Client, origin: Origin, cluster_redis: Redis
) -> None:
    endpoint = register(client, origin.add("/hook", OK))
    finish_a_request(client, origin)
    for process in cluster.processes[1:]:
        cluster.end(process, signal.SIGKILL)
    cluster_redis.kill()
    cluster_redis.start()
    key, status = delivery(cluster)
    assert (status, origin.count("/hook")) == ("pending", 0)
    cluster.webhooks()
    wait_for(lambda: delivery(cluster)[1] == "delivered", "the delivery")
    assert ids(origin, "/hook", endpoint["secret"]) == [key]


def test_a_worker_killed_during_a_delivery_lets_it_come_again_with_its_id(
    cluster: Cluster, client: httpx.Client, origin: Origin
) -> None:
    hold = Hold()
    endpoint = register(client, origin.add("/hook", hold))
    webhooks = cluster.webhooks()
    finish_a_request(client, origin)
    wait_for(hold.reached.is_set, "the message is under way")
    cluster.end(webhooks, signal.SIGKILL)
    key, status = delivery(cluster)
    assert status == "pending"
    hold.opened.set()
    cluster.webhooks()
    wait_for(lambda: delivery(cluster)[1] == "delivered", "the delivery")
    assert set(ids(origin, "/hook", endpoint["secret"])) == {key}
    assert origin.count("/hook") >= 2


def test_embedded_a_process_killed_during_a_delivery_lets_it_come_again_with_its_id(
    tmp_path: Path, origin: Origin
) -> None:
    hold = Hold()
    with Embedded(tmp_path, **QUICK_TO_NOTICE) as service, service.client() as client:
        service.serve()
        endpoint = register(client, origin.add("/hook", hold))
        finish_a_request(client, origin)
        wait_for(hold.reached.is_set, "the message is under way")
        service.end(service.processes[0], signal.SIGKILL)
        key, status = delivery(service)
        assert status == "pending"
        hold.opened.set()
        service.serve()
        wait_for(lambda: delivery(service)[1] == "delivered", "the delivery")
        assert set(ids(origin, "/hook", endpoint["secret"])) == {key}


def test_of_twenty_endpoints_one_that_hangs_and_one_that_fails_hold_up_neither_the_others_nor_pictures(
    cluster: Cluster, client: httpx.Client, origin: Origin, figure: Callable[[str], None]
) -> None:
    hold = Hold()
    secrets = {}
    for number in range(ENDPOINTS):
        routes: dict[int, Route] = {0: hold, 1: Answer(status=500)}
        path = f"/{number}"
        secrets[path] = register(client, origin.add(path, routes.get(number, OK)))["secret"]
    cluster.webhooks()
    alone = process_pictures(client, origin, "alone")
    cluster.manage("shell", "-v0", "-c", BURST.format(events=EVENTS))
    meanwhile = process_pictures(client, origin, "meanwhile")
    others = [path for path in secrets if path not in {"/0", "/1"}]
    wait_for(lambda: cluster.query(SERVED) == [(EVENTS * len(others),)], "all but two are served")
    assert origin.count("/0") < EVENTS  # it is not through by far, and nobody has waited for it
    hold.opened.set()
    for path in others:
        received = [one["id"] for one in messages(origin, path, secrets[path]) if one["type"] == "test"]
        assert len(received) == len(set(received)) == EVENTS
    ((seconds,),) = cluster.query(LAST_SERVED)
    figure(
        f"{ENDPOINTS} endpoints with {EVENTS} deliveries each, one hanging and one failing: the other "
        f"{len(others)} were served after {seconds:.1f} s; 150 pictures took {alone:.1f} s before "
        f"and {meanwhile:.1f} s meanwhile"
    )


def process_pictures(client: httpx.Client, origin: Origin, name: str) -> float:
    """Upload 150 pictures; how many seconds they took by the service's clock."""
    picture = Answer(photo_jpeg(200, 150), delay=0.1)
    rows = [[str(n), "Lamp", origin.add(f"/{name}/{n}.jpg", picture)] for n in range(150)]
    answer = client.post("/api/requests/", files={"file": ("lamps.csv", as_csv(rows))})
    key = answer.raise_for_status().json()["id"]
    state = wait_for(lambda: finished(client, key), "the pictures")
    began, ended = (datetime.fromisoformat(state[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def finished(client: httpx.Client, key: str) -> dict[str, Any] | None:
    state: dict[str, Any] = client.get(f"/api/requests/{key}/").json()
    return state if state["status"] in FINISHED else None
