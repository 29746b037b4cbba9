"""Exits with 0 when this container can do its work: the image's HEALTHCHECK.

Without an argument the web process has to answer; with `worker` what a worker needs has to. A worker that
ends takes its container along, so that nobody needs to ask for it.
"""

import os
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 4


def web_answers() -> bool:
    """Asked as through the proxy in front, since other hosts are refused."""
    public = urlsplit(os.environ.get("PUBLIC_URL") or "http://127.0.0.1:8000")
    connection = HTTPConnection("127.0.0.1", 8000, timeout=SECONDS)
    connection.request("GET", "/healthz", headers={"Host": public.netloc})
    return connection.getresponse().status == 200


def services_answer() -> bool:
    """PostgreSQL and Redis; raises what their clients raise where they do not."""
    import psycopg  # noqa: PLC0415 (not for the web's check, which is asked more often)
    import redis  # noqa: PLC0415

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from imageextractor.environment import env  # noqa: PLC0415

    psycopg.connect(env.text("DATABASE_URL", ""), connect_timeout=SECONDS).close()
    options = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    return bool(redis.Redis.from_url(env.text("REDIS_URL", ""), **options).ping())


if __name__ == "__main__":
    sys.exit(not (services_answer() if sys.argv[1:] == ["worker"] else web_answers()))
