"""A pytest plugin: `--quick` runs the tests that need no server and no browser, on SQLite.

Tests are selected by what they ask for. Those that use one of `SERVER_FIXTURES` or are marked with
`needs("…")` are left out, and of a table marked with `sample("argument")` only a few cases run. Settings are
those of embedded mode, so that a test which needs a server without saying so fails.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.environment import clean_environment
from tests.support.servers import Server

#: What a fixture uses beside this process.
SERVER_FIXTURES = {
    "chromium": "Chromium",
    "redis_url": "Redis",
    "own_redis": "Redis",
    "cluster": "PostgreSQL and Redis",
    "service": "the service in a process of its own",
    "account": "an S3 server",
}
#: A module and a folder that are not even read: to make up their cases takes seconds.
GENERATED = ("tests/products/api/test_schema.py", "tests/fuzz/test_")
REPEATED = "cases like those that ran"
MARKERS = (
    "needs(what): what the test uses beside this process: a server, a program, or more time than is there",
    "sample(argument, keep=1, by=None): with --quick only the first `keep` values of the parameter run, "
    "of each group of equal `by(value)`",
)
#: The programs without which `make test` had to start.
MISSING = frozenset(filter(None, os.environ.get("MISSING_PROGRAMS", "").split(",")))
#: What `scripts/bootstrap` compiles where it can.
JPEG_LIBRARY = "requantise.so"
#: How many tests did not run, by reason and module.
LEFT_OUT = pytest.StashKey[Counter[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="run what needs no server and no browser, on SQLite"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-django reads the settings
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if early_config.known_args_namespace.quick and "PYTEST_XDIST_WORKER" not in os.environ:
        directory = TemporaryDirectory(prefix="imageextractor-")
        early_config.add_cleanup(directory.cleanup)
        environment = clean_environment(directory.name)
        os.environ.clear()
        os.environ.update(environment)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[LEFT_OUT] = Counter()
    Server.may_start = not config.option.quick


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Modules, since a folder that is named in the command or in `testpaths` is not asked about.
    if config.option.quick and any(name in collection_path.as_posix() for name in GENERATED):
        config.stash[LEFT_OUT]["modules of generated cases", collection_path.name] += 1
        return True
    return None


class Sample:
    """The cases of parametrized tests that are run."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], list[Any]] = defaultdict(list)

    def takes(self, item: pytest.Item) -> bool:
        """Return whether the test runs, by its markers and the cases that came before it."""
        return all(self._takes(item, *mark.args, **mark.kwargs) for mark in item.iter_markers("sample"))

    def _takes(
        self, item: pytest.Item, argument: str, keep: int = 1, by: Callable[[Any], Any] = lambda _: None
    ) -> bool:
        assert isinstance(item, pytest.Function)
        value = item.callspec.params[argument]
        kept = self._kept[item.parent, item.originalname, argument, by(value)]
        if value not in kept and len(kept) < keep:
            kept.append(value)
        return value in kept


def needs(item: pytest.Item) -> set[str]:
    """Return what the test uses beside this process, by its fixtures and its `needs` markers."""
    fixtures = getattr(item, "fixturenames", ())
    marked = {mark.args[0] for mark in item.iter_markers("needs")}
    return marked | {need for fixture, need in SERVER_FIXTURES.items() if fixture in fixtures}


@pytest.hookimpl(trylast=True)  # what -k and -m leave out is no concern of ours
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what --quick does not run, or what needs a program that is not installed."""
    from processing.compress.native import library

    quick, sample = config.option.quick, Sample()
    present = {JPEG_LIBRARY} if library() else set()
    missing = MISSING | {JPEG_LIBRARY}
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        reasons = needs(item) if quick else needs(item) & missing
        reasons -= present
        if quick and not reasons and not sample.takes(item):
            reasons = {REPEATED}
        if reasons:
            config.stash[LEFT_OUT][", ".join(sorted(reasons)), item.location[0]] += 1
        (left_out if reasons else kept).append(item)
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Each process of pytest-xdist collects all tests, so that all of them count the same.
    counts = getattr(node, "workeroutput", {}).get("left_out", [])
    node.config.stash[LEFT_OUT] = Counter({(reason, module): count for reason, module, count in counts})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    counts = session.config.stash[LEFT_OUT]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = [(*key, count) for key, count in counts.items()]
    elif counts and not session.config.option.quick and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what did not run: with --quick by reason, else by module too, since the run has failed by it."""
    counts = Counter[str]()
    for (reason, module), count in config.stash[LEFT_OUT].items():
        counts[reason if config.option.quick else f"{module}: no {reason}"] += count
    if counts:
        terminalreporter.section("left to `make test`" if config.option.quick else "did not run")
        for line, count in counts.most_common():
            terminalreporter.write_line(f"{count:6} {line}")
