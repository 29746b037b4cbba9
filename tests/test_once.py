"""Things that one process of a run makes for all of them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.once import once
from tests.support.parallel import together

ROOT = Path(__file__).resolve().parents[1]
#: A process that the system ends when it has written 1,000 bytes of what it makes.
KILLED = """
import resource, signal
from tests.support.once import once
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
once("thing", lambda: b"x" * 10_000)
"""


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_RUN_DIR", str(tmp_path))


def test_it_is_made_once_for_all_who_ask_at_the_same_time() -> None:
    made = []

    def make() -> bytes:
        time.sleep(0.1)  # the others ask meanwhile
        made.append("a database")
        return b"made"

    assert together([lambda: once("thing", make)] * 4) == [b"made"] * 4
    assert made == ["a database"]


def test_after_a_failure_the_next_makes_it() -> None:
    def fail() -> bytes:
        raise ValueError

    with pytest.raises(ValueError):
        once("thing", fail)
    assert once("thing", lambda: b"made") == b"made"
    assert once("another thing", lambda: b"another") == b"another"


def test_after_a_process_that_was_killed_the_next_makes_it() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGXFSZ
    assert once("thing", lambda: b"made") == b"made"


def test_outside_of_a_run_it_is_made_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_RUN_DIR")
    assert [once("thing", lambda: b"first"), once("thing", lambda: b"second")] == [b"first", b"second"]
