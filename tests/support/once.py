"""Make things once for all processes of a run."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def once(name: str, make: Callable[[], bytes]) -> bytes:
    """Return what `make` returns. The first process of the run that asks for `name` calls it; others wait.

    Outside of a run, such as in a script, each process calls it.
    """
    directory = os.environ.get("TEST_RUN_DIR")
    if directory is None:
        return make()
    path = Path(directory, f"once-{name}")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            begun = path.with_suffix(".begun")  # of a process that was killed, nothing but this is left
            begun.write_bytes(make())
            begun.replace(path)
    return path.read_bytes()
