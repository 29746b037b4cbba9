"""The two modes of an installation, and all that differs between them at run time.

Embedded mode is one process: the worker's threads run in the web process, and messages stay in memory. In a
cluster web and worker processes share PostgreSQL and Redis. `current` is the mode of this installation.
"""

from datetime import timedelta
from typing import Any, Protocol

import dramatiq
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from processing.timing import CLUSTER_RECOVERY_INTERVAL, EMBEDDED_RECOVERY_INTERVAL


class Runtime(Protocol):
    """One of the two modes."""

    #: Whether the worker's threads run in the web process.
    worker_in_web_process: bool
    web_processes: int
    #: The `manage.py` command that starts a worker.
    worker_command: str
    recovery_interval: timedelta
    #: Lanes of a Request at most. More than there are worker processes are of no use.
    max_lanes: int
    #: How many times in a row a lane may be forwarded to another worker process.
    max_lane_forwards: int

    def check_web_process(self) -> None:
        """Raise ImproperlyConfigured unless this process was started in a way that suits the mode."""

    def messages_reach_worker(self, *, from_worker: bool) -> bool:
        """Return whether messages of this process, which may itself be a worker, reach a worker."""

    def redis_client(self) -> Any | None:
        """Return a client of the Redis that all processes share; None in embedded mode."""

    def ping_broker(self) -> None:
        """Raise RedisError if the broker does not answer."""

    def queue_counts(self, queue: str) -> dict[str, int]:
        """Return the number of messages by state: `waiting`, `delayed` and, where known, `in_hand`.

        Raises RedisError if the broker does not answer.
        """


class Embedded:
    """Web server and worker in one process, without Redis."""

    worker_in_web_process = True
    web_processes = 1
    worker_command = "serve"
    recovery_interval = EMBEDDED_RECOVERY_INTERVAL
    max_lanes = 1
    max_lane_forwards = 0

    def check_web_process(self) -> None:
        if not settings.SERVE_BIND:
            raise ImproperlyConfigured(
                "Without REDIS_URL the worker runs in the web process: start it with `manage.py serve`, "
                "or set REDIS_URL and run `manage.py rundramatiq` beside gunicorn."
            )

    def messages_reach_worker(self, *, from_worker: bool) -> bool:
        return from_worker

    def redis_client(self) -> None:
        return None

    def ping_broker(self) -> None:
        """The broker is part of this process."""

    def queue_counts(self, queue: str) -> dict[str, int]:
        queues = _broker().queues
        return {"waiting": queues[queue].qsize(), "delayed": queues[f"{queue}.DQ"].qsize()}


class Cluster:
    """Web and worker processes on any number of machines, with Redis as the broker."""

    worker_in_web_process = False
    web_processes = 2
    worker_command = "rundramatiq"
    recovery_interval = CLUSTER_RECOVERY_INTERVAL
    max_lanes = 8
    max_lane_forwards = 2

    def check_web_process(self) -> None:
        """Accept any WSGI server."""

    def messages_reach_worker(self, *, from_worker: bool) -> bool:
        return True

    def redis_client(self) -> Any:
        return _broker().client

    def ping_broker(self) -> None:
        self.redis_client().ping()

    def queue_counts(self, queue: str) -> dict[str, int]:
        # Dramatiq lists the ids of waiting messages, and keeps each message in a hash until it is processed.
        client = self.redis_client()
        waiting = client.llen(f"dramatiq:{queue}")
        unprocessed = client.hlen(f"dramatiq:{queue}.msgs")
        delayed = client.hlen(f"dramatiq:{queue}.DQ.msgs")
        return {"waiting": waiting, "delayed": delayed, "in_hand": max(unprocessed - waiting, 0)}


def _broker() -> Any:
    """Return Dramatiq's broker; the type of its base class has neither `client` nor usable `queues`."""
    return dramatiq.get_broker()


current: Runtime = Embedded() if settings.EMBEDDED else Cluster()
