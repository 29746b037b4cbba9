"""Environment variables that tests run with."""

import os
from pathlib import Path

KEPT_VARIABLES = ("PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR", "CI")
KEPT_PREFIXES = ("LC_", "PYTEST_", "PYTHON", "TEST_S3_", "BENCH_", "COVERAGE_")


def clean_environment(data_dir: str) -> dict[str, str]:
    """Return the variables of a run, with none of the caller's that could name a real database or bucket."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    return kept | {
        "DATA_DIR": data_dir,
        "SECRET_KEY": "for-tests-only-" + "0123456789" * 4,
        "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def command_environment(directory: Path) -> dict[str, str]:
    """Return the variables of a command in embedded mode, as few as a user has to set."""
    return {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(directory / "data"),
        "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
