"""Environment variables that tests run with."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.once import once

KEPT_VARIABLES = ("PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR", "CI")
#: To compile all tests takes each process seconds, so that bytecode is always written.
DROPPED_VARIABLES = ("PYTHONDONTWRITEBYTECODE",)
KEPT_PREFIXES = ("LC_", "PYTEST_", "PYTHON", "TEST_S3_", "BENCH_", "COVERAGE_")


def clean_environment(data_dir: str) -> dict[str, str]:
    """Return the variables of a run, with none of the caller's that could name a real database or bucket."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)) and name not in DROPPED_VARIABLES
    }
    return kept | {
        "DATA_DIR": data_dir,
        "TEST_RUN_DIR": data_dir,  # the same for all processes of the run
        "SECRET_KEY": "for-tests-only-" + "0123456789" * 4,
        "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def command_environment(directory: Path) -> dict[str, str]:
    """Return the variables of a command in embedded mode, as few as a user has to set."""
    (directory / "data").mkdir()
    add_database(directory / "data")
    return {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(directory / "data"),
        "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def add_database(data_dir: Path) -> None:
    """Put an empty database with all tables in an empty DATA_DIR. To make the tables takes a second."""
    if not any(data_dir.iterdir()):
        (data_dir / "db.sqlite3").write_bytes(once("sqlite", _migrated_database))


@cache
def _migrated_database() -> bytes:
    with TemporaryDirectory() as data_dir:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=Path(__file__).resolve().parents[2],
            env={"PATH": os.environ["PATH"], "DATA_DIR": data_dir},
            check=True,
        )
        return Path(data_dir, "db.sqlite3").read_bytes()
