"""Time constants by which workers notice that something has died, is lost or should be tried again.

TEST_TIME_SCALE, which only tests set, shortens all of them by the same factor, so that their order stays:
a heartbeat is shorter than the time after which a worker counts as dead, and so on.
"""

import math
from datetime import timedelta

from django.conf import settings


def _scaled(seconds: float) -> float:
    return seconds * settings.TEST_TIME_SCALE


# --- Workers ---
HEARTBEAT = timedelta(seconds=_scaled(10))
#: A worker that has not been seen for so long counts as dead: two heartbeats may be missed.
DEAD_AFTER = timedelta(seconds=_scaled(30))
#: Time between two rounds of recovery. Short where only recovery finds what another process, such as
#: `extract`, has submitted.
EMBEDDED_RECOVERY_INTERVAL = timedelta(seconds=_scaled(1))
CLUSTER_RECOVERY_INTERVAL = timedelta(seconds=_scaled(10))
#: The same in an SQLite database that has not changed since the last round.
UNCHANGED_RECOVERY_INTERVAL = timedelta(seconds=_scaled(10))

# --- Messages ---
#: A message of a Request is lost if workers have received messages sent so much later. Longer than the
#: slices of lanes and of ingest, even when scaled.
MESSAGE_LOST_AFTER = timedelta(seconds=_scaled(30))
#: A message of a webhook endpoint that has not been processed for so long counts as lost.
DELIVERY_LOST_AFTER = timedelta(seconds=_scaled(30))
#: A worker delivers to endpoints for so long, so that none occupies a thread of it for long.
DELIVERY_SLICE_SECONDS = 5
#: The lease of an endpoint is longer than a slice and its last attempt by this much.
DELIVERY_LEASE_MARGIN_SECONDS = _scaled(10)

# --- Feeds ---
#: A message for a feed's run that has not been processed for so long counts as lost.
FETCH_LOST_AFTER = timedelta(seconds=_scaled(30))

# --- Slots of hosts ---
#: How long a lease is valid without renewal. Redis expires keys by whole seconds.
LEASE_SECONDS = math.ceil(_scaled(15))
#: How long Redis is not asked again after it did not answer.
REDIS_DOWN_SECONDS = _scaled(5)

# --- Pictures ---
#: Seconds to wait after each failed attempt but the last: five attempts in all.
RETRY_DELAYS_SECONDS = tuple(_scaled(seconds) for seconds in (2, 5, 15, 30))
STORAGE_RETRY_SECONDS = _scaled(5)
#: How long nothing is claimed after a storage error: the first time, and at most.
FIRST_CLAIM_PAUSE_SECONDS, MAX_CLAIM_PAUSE_SECONDS = _scaled(5), _scaled(30)
