"""Leases of host slots: workers share in Redis how many pictures each may fetch from a host at once."""

import logging
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from processing.hosts.rate_limit import Pause
from processing.timing import LEASE_SECONDS, REDIS_DOWN_SECONDS

logger = logging.getLogger(__name__)

#: Prefix of keys in Redis, before the host.
PREFIX = "imageextractor:places:"

# KEYS: for each host a hash of "held wanted expires" by worker. ARGV: worker, limit, lease in seconds; then
# for each host how many slots the worker wants, how many it uses, the ms of its own pause of the host, and
# the text of that pause. Returns for each host how many slots the worker may use from now on, and the text of
# a pause that any worker has told.
# No worker gets slots that another holds. Of the others, no worker gets so many that those which want some
# cannot get an equal share. Slots used above the new lease are held until they are returned. Of a paused host
# no worker gets any.
SHARE = """
local worker, limit, seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
local answers = {}
for i, key in ipairs(KEYS) do
  local wanted, used, rest = tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2])
  local pause = key .. ':pause'
  if rest > math.max(0, redis.call('PTTL', pause)) then
    redis.call('SET', pause, ARGV[4 * i + 3], 'PX', rest)
  end
  local told = redis.call('GET', pause)
  local others, all = {}, redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local held, requests, ends = string.match(all[j + 1], '(%d+) (%d+) (%d+)')
    if tonumber(ends) <= now then
      redis.call('HDEL', key, all[j])
    elseif all[j] ~= worker then
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
  answers[i] = {share, told or ''}
end
return answers
"""


class LeaseRequest(NamedTuple):
    """Numbers of slots of a host that a worker wants and uses, and the pause of the host it knows of."""

    wanted: int
    used: int
    pause: Pause | None = None


class Lease(NamedTuple):
    """Number of slots of a host that a worker may use: none if another worker has told of a pause."""

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

    def renew(self, requests: Mapping[str, LeaseRequest], limit: int) -> dict[str, Lease]:
        """Return by host this worker's lease of the `limit` slots from now on.

        A request that requests and uses none returns the lease. Leases expire if they are not renewed.
        """
        if not requests or not self._script or time.monotonic() < self._down_until:
            return dict.fromkeys(requests, Lease(limit))
        keys = [PREFIX + host for host in requests]
        arguments = [
            word
            for request in requests.values()
            for word in (request.wanted, request.used, *_pause_arguments(request.pause))
        ]
        try:
            answers = self._script(keys, [self._worker_id, limit, LEASE_SECONDS, *arguments])
        except redis.RedisError as error:
            logger.warning(
                "Redis does not answer; leases are not shared with other workers for now: %s", error
            )
            self._down_until = time.monotonic() + REDIS_DOWN_SECONDS
            return dict.fromkeys(requests, Lease(limit))
        return {
            host: Lease(slots, _parse_pause(host, told))
            for host, (slots, told) in zip(requests, answers, strict=True)
        }


def _pause_arguments(pause: Pause | None) -> tuple[int, str]:
    """Return the remaining ms of a pause, and its text for other workers."""
    if pause is None:
        return 0, ""
    return math.ceil(1000 * (pause.until - time.time())), f"{pause.until} {pause.number} {pause.code}"


def _parse_pause(host: str, told: bytes) -> Pause | None:
    if not told:
        return None
    until, number, code = told.decode().split()
    return Pause(host, float(until), int(number), code)
