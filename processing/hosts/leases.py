"""Leases of host slots: through Redis, workers share the number of pictures fetched from a host at once."""

import logging
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from processing.hosts.rate_limit import MAX_PAUSE_SECONDS, Pause
from processing.timing import LEASE_SECONDS, REDIS_DOWN_SECONDS

logger = logging.getLogger(__name__)

#: Keys in Redis are this prefix and the host.
KEY_PREFIX = "imageextractor:slots:"

# KEYS: for each host a hash of "held wanted expires" by worker.
# ARGV: worker, limit, seconds of a lease, ms of the longest pause; then for each host the number of slots
# that the worker wants, the number that it uses, the ms left of its own pause, and that pause as text.
# Returns for each host the number of slots that the worker may use from now on, the text of a pause that any
# worker has published, and the ms left of it.
# No worker gets slots that another holds. Of the free ones it gets only as many as leave an equal share for
# each worker that wants some. Slots used above the new lease are held until they are returned. A paused host
# has no slots for any worker.
# All by the clock of Redis. What lasts longer than it may was written before that clock was set back.
SHARE = """
local worker, limit, seconds, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(redis.call('TIME')[1])
local answers = {}
for i, key in ipairs(KEYS) do
  local wanted, used, rest = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2]), tonumber(ARGV[4 * i + 3])
  local pause = key .. ':pause'
  if redis.call('PTTL', pause) > longest then
    redis.call('PEXPIRE', pause, longest)
  end
  if rest > math.max(0, redis.call('PTTL', pause)) then
    redis.call('SET', pause, ARGV[4 * i + 4], 'PX', rest)
  end
  local told = redis.call('GET', pause)
  local others, all = {}, redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local held, requests, ends = string.match(all[j + 1], '(%d+) (%d+) (%d+)')
    if tonumber(ends) <= now then
      redis.call('HDEL', key, all[j])
    elseif all[j] ~= worker then
      if tonumber(ends) > now + seconds then
        redis.call('HSET', key, all[j], held .. ' ' .. requests .. ' ' .. now + seconds)
      end
      table.insert(others, {tonumber(held), tonumber(requests)})
    end
  end
  local fair, reserved = math.floor(limit / (#others + 1)), 0
  for _, other in ipairs(others) do
    reserved = reserved + math.max(other[1], math.min(other[2], fair))
  end
  local share = told and 0 or math.max(0, math.min(wanted, limit - reserved))
  if wanted + used == 0 then
    redis.call('HDEL', key, worker)
  else
    local held = math.max(share, used)
    redis.call('HSET', key, worker, held .. ' ' .. wanted .. ' ' .. now + seconds)
    redis.call('EXPIRE', key, seconds)
  end
  answers[i] = {share, told or '', redis.call('PTTL', pause)}
end
return answers
"""


class LeaseRequest(NamedTuple):
    """The numbers of slots of a host that a worker wants and uses, and its own pause of the host, if any."""

    wanted: int
    used: int
    pause: Pause | None = None


class Lease(NamedTuple):
    """The number of slots of a host that a worker may use, and any worker's pause of the host, if any."""

    slots: int
    pause: Pause | None = None


class Leases:
    """This worker's leases of host slots.

    Without Redis, or while it does not answer, the worker uses all slots of every host.
    """

    def __init__(self, url: str | None, worker_id: uuid.UUID) -> None:
        self._worker_id = str(worker_id)
        self._down_until = 0.0
        self._script: Any = None
        if url:
            client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
            self._script = client.register_script(SHARE)

    @property
    def are_shared(self) -> bool:
        """True if leases are kept in Redis: then `renew` may take a second."""
        return self._script is not None

    def renew(self, requests: Mapping[str, LeaseRequest], limit: int) -> dict[str, Lease]:
        """Return this worker's leases by host, out of the `limit` slots that each host has.

        A request that wants and uses no slots gives the lease back. Leases expire unless they are renewed.
        """
        if not requests or not self._script or time.monotonic() < self._down_until:
            return dict.fromkeys(requests, Lease(limit))
        keys = [KEY_PREFIX + host for host in requests]
        # Before the question: counted from the answer, a pause would grow each time that it is told.
        now = time.time()
        arguments = [
            word
            for request in requests.values()
            for word in (request.wanted, request.used, *_pause_arguments(request.pause, now))
        ]
        try:
            answers = self._script(
                keys, [self._worker_id, limit, LEASE_SECONDS, round(1000 * MAX_PAUSE_SECONDS), *arguments]
            )
        except redis.RedisError as error:
            logger.warning(
                "Redis does not answer; this worker uses all slots of every host meanwhile: %s", error
            )
            self._down_until = time.monotonic() + REDIS_DOWN_SECONDS
            return dict.fromkeys(requests, Lease(limit))
        return {
            host: Lease(slots, _parse_pause(host, told, now + left_ms / 1000))
            for host, (slots, told, left_ms) in zip(requests, answers, strict=True)
        }


def _pause_arguments(pause: Pause | None, now: float) -> tuple[int, str]:
    """Return the remaining ms of a pause, and its text for other workers."""
    if pause is None:
        return 0, ""
    return math.ceil(1000 * (pause.until - now)), f"{pause.number} {pause.code}"


def _parse_pause(host: str, told: bytes, until: float) -> Pause | None:
    if not told:
        return None
    *_, number, code = told.decode().split()  # earlier versions put the end first
    return Pause(host, until, int(number), code)
