"""How many pictures each worker may fetch from a host at once, so that all together keep to the limit."""

import logging
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from processing.hosts.backoff import Pause

logger = logging.getLogger(__name__)

#: Seconds after which the leases of a worker that says nothing any more are others'.
LEASE_SECONDS = 15
#: Seconds for which a Redis that does not answer is not asked again.
DOWN_SECONDS = 5
#: What keys in Redis begin with; a host follows.
PREFIX = "imageextractor:places:"

# KEYS: for each host a hash with "held wanted ends" by worker. ARGV: worker, limit, seconds; then for each
# host how many the worker wants, how many it uses, for how many ms it leaves the host alone, and what it
# tells others of that. Answers for each host how many it may use from now on, and what others tell. Nobody
# gets what another holds; of the rest nobody gets so much that less than an equal share is left for who
# wants it. Who uses more than he may holds that until he has given it back. Of a host that is left alone
# nobody gets any.
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
    local held, wants, ends = string.match(all[j + 1], '(%d+) (%d+) (%d+)')
    if tonumber(ends) <= now then
      redis.call('HDEL', key, all[j])
    elseif all[j] ~= worker then
      table.insert(others, {tonumber(held), tonumber(wants)})
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


class Want(NamedTuple):
    """How many places at a host a worker wants and how many it uses; the host's pause that it knows of."""

    wanted: int
    used: int
    pause: Pause | None = None


class Share(NamedTuple):
    """How many places at a host a worker may use: none in a pause of which any worker has told."""

    places: int
    pause: Pause | None = None


class Leases:
    """This worker's shares of the places at hosts, agreed upon in Redis.

    Where there is no Redis, or it does not answer, the worker has every host for itself.
    """

    def __init__(self, url: str | None, worker_id: uuid.UUID) -> None:
        self._worker_id = str(worker_id)
        self._down_until = 0.0
        self._script: Any = None
        if url:
            client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
            self._script = client.register_script(SHARE)

    def ask(self, wants: Mapping[str, Want], limit: int) -> dict[str, Share]:
        """By host, this worker's share of the `limit` places from now on.

        To want and use none gives its share back. Shares run out when they are not asked for again.
        """
        if not wants or not self._script or time.monotonic() < self._down_until:
            return dict.fromkeys(wants, Share(limit))
        keys = [PREFIX + host for host in wants]
        said = [word for want in wants.values() for word in (want.wanted, want.used, *_told(want.pause))]
        try:
            answers = self._script(keys, [self._worker_id, limit, LEASE_SECONDS, *said])
        except redis.RedisError as error:
            logger.warning("Redis does not answer; hosts are shared with nobody for now: %s", error)
            self._down_until = time.monotonic() + DOWN_SECONDS
            return dict.fromkeys(wants, Share(limit))
        return {
            host: Share(places, _heard(host, told))
            for host, (places, told) in zip(wants, answers, strict=True)
        }


def _told(pause: Pause | None) -> tuple[int, str]:
    """For how many ms from now a host is left alone, and what others are told of it."""
    if pause is None:
        return 0, ""
    return math.ceil(1000 * (pause.until - time.time())), f"{pause.until} {pause.number} {pause.code}"


def _heard(host: str, told: bytes) -> Pause | None:
    if not told:
        return None
    until, number, code = told.decode().split()
    return Pause(host, float(until), int(number), code)
