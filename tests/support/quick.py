"""A pytest plugin: `--quick` runs the tests that need no server and no browser, on SQLite.

Tests are selected by what they ask for. Those that use one of `SERVER_FIXTURES` or are marked with
`needs("…")` are left out, and of a table marked with `sample("argument")` only a few cases run. Settings are
those of embedded mode, so that a test which needs a server without saying so fails.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.environment import clean_environment
from tests.support.servers import Server

#: What a fixture that starts or uses something outside this process needs.
SERVER_FIXTURES = {"chromium": "Chromium", "redis_url": "Redis"}
REPEATED = "cases like those that ran"
MARKERS = (
    "needs(name): a server or program outside Python that the test uses; --quick leaves the test out",
    "sample(argument, keep=1, by=None): with --quick only the first `keep` values of the parameter run, of each "
    "group of equal `by(value)`",
)
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="run what needs no server and no browser, on SQLite")


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


def needs(item: pytest.Item) -> list[str]:
    """Return what the test needs beside Python, by its fixtures and its `needs` markers."""
    fixtures = getattr(item, "fixturenames", ())
    marked = [mark.args[0] for mark in item.iter_markers("needs")]
    return marked + [need for fixture, need in SERVER_FIXTURES.items() if fixture in fixtures]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.quick:
        return
    sample, kept, left_out = Sample(), [], []
    for item in items:
        if reason := ", ".join(sorted(set(needs(item)))) or ("" if sample.takes(item) else REPEATED):
            config.stash[LEFT_OUT][reason] += 1
            left_out.append(item)
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Every process collects all tests; the last one's counts stand.
    if left_out := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[LEFT_OUT] = Counter(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.section("left to make test")
        for reason, count in left_out.most_common():
            terminalreporter.write_line(f"{count:5} {reason}")

