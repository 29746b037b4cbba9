"""Work of each component of a cluster for an image: the limits that more worker machines will meet."""

import os
from typing import Any

import psycopg
import redis

from scripts.bench.contenders import Service
from scripts.bench.measure import cpu_seconds, cpu_with_children


def costs(service: Service, urls: list[str]) -> dict[str, float]:
    """CPU ms per image of PostgreSQL, Redis, and the workers."""
    before = _seconds(service)
    service.run(urls)
    after = _seconds(service)
    return {name: (after[name] - before[name]) / len(urls) * 1000 for name in after}


def _seconds(service: Service) -> dict[str, float]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        (pid,) = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone() or ("",)
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        cpu: Any = client.info("cpu")
    return {
        "PostgreSQL": cpu_with_children(int(pid.split()[0])),
        "Redis": cpu["used_cpu_sys"] + cpu["used_cpu_user"],
        "workers": cpu_seconds(service.groups),
    }
