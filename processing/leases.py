"""How many pictures each worker may fetch from a host at once, so that all together keep to the limit."""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

import redis

logger = logging.getLogger(__name__)

#: Seconds after which the leases of a worker that says nothing any more are others'.
LEASE_SECONDS = 15
#: Seconds for which a Redis that does not answer is not asked again.
DOWN_SECONDS = 5

# KEYS: for each host a hash with "held wanted ends" by worker. ARGV: worker, limit, seconds; then for each
# host how many the worker wants and how many it uses. Answers for each host how many it may use from now on.
# Nobody gets what another holds; of the rest nobody gets so much that less than an equal share is left for
# who wants it. Who uses more than he may holds that until he has given it back.
SHARE = """
local worker, limit, seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
local answers = {}
for i, key in ipairs(KEYS) do
  local wanted, used = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
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
  local share = math.max(0, math.min(wanted, limit - reserved))
  if wanted + used == 0 then
    redis.call('HDEL', key, worker)
  else
    local held = math.max(share, used)
    redis.call('HSET', key, worker, held .. ' ' .. wanted .. ' ' .. now + seconds)
    redis.call('EXPIRE', key, seconds)
  end
  answers[i] = share
end
return answers
"""


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

    def ask(self, wants: Mapping[str, tuple[int, int]], limit: int) -> dict[str, int]:
        """By host, how many of the `limit` places this worker may use from now on.

        `wants` are how many it wants and uses; none of both gives its share back. Shares run out when they
        are not asked for again.
        """
        if not wants or not self._script or time.monotonic() < self._down_until:
            return dict.fromkeys(wants, limit)
        counts = [count for pair in wants.values() for count in pair]
        keys = [f"imageextractor:places:{host}" for host in wants]
        try:
            shares = self._script(keys, [self._worker_id, limit, LEASE_SECONDS, *counts])
        except redis.RedisError as error:
            logger.warning("Redis does not answer; hosts are shared with nobody for now: %s", error)
            self._down_until = time.monotonic() + DOWN_SECONDS
            return dict.fromkeys(wants, limit)
        return dict(zip(wants, shares, strict=True))
