"""A pytest plugin: processes that run tests side by side (pytest-xdist) keep out of each other's way.

Each has two databases of the run's Redis for itself, the second for the cluster that a test starts, and a
directory for its files. It is named by `-p` and so comes before Django's settings are read; PostgreSQL's
databases are pytest-django's to tell apart.
"""

import os
from pathlib import Path

from tests.support.servers import redis_database


def keep_apart(worker: str) -> None:
    """Give the process with this name of xdist's (gw0, gw1, …) what it needs for itself."""
    if url := os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = redis_database(url, 2 * int(worker.removeprefix("gw")))
    if directory := os.environ.get("DATA_DIR"):
        own = Path(directory, worker)
        own.mkdir(exist_ok=True)
        os.environ["DATA_DIR"] = str(own)


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    keep_apart(worker)
