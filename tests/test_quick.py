"""The selection of tests in `make quick`, and in `make test` where a program is missing."""

import pytest

from scripts import servers

pytest_plugins = ["pytester"]

MODULE = """
import os
import pytest

@pytest.fixture
def chromium():
    return "a browser"

def test_of_python(): pass
def test_in_a_browser(chromium): pass

@pytest.mark.needs("unzip")
def test_of_an_archive(): pass

@pytest.mark.sample("mode", by=len)
@pytest.mark.sample("format", keep=2)
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "CMY"])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_of_pictures(mode, format):
    assert mode in {"L", "RGB"} or "DATABASE_URL" in os.environ
"""


@pytest.fixture(autouse=True)
def our_plugin(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_module=MODULE)
    plugins = ("-p", "no:django", "-p", "no:cacheprovider", "-p", "tests.support.quick")
    return pytester.runpytest_subprocess(*plugins, "--strict-markers", *arguments)


@pytest.mark.needs("a process of its own")
def test_the_quick_loop_runs_what_needs_nothing_and_a_few_cases_of_each_table(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/real")
    result = run(pytester, "--quick", "-v")
    result.assert_outcomes(passed=5, deselected=10)
    result.stdout.fnmatch_lines(["*8 cases like those that ran", "*1 Chromium", "*1 unzip"])
    assert "CMY" not in result.stdout.str()
    assert result.ret == 0


@pytest.mark.needs("a process of its own")
def test_without_a_program_the_rest_runs_and_the_run_fails_naming_what_did_not(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/tests")
    monkeypatch.setenv("MISSING_PROGRAMS", "Chromium")
    result = run(pytester)
    result.assert_outcomes(passed=14, deselected=1)
    result.stdout.fnmatch_lines(["*did not run*", "*1 test_module.py: no Chromium"])
    assert result.ret == 1
    assert run(pytester, "-k", "archive").ret == 0


def test_a_run_starts_without_chromium_and_says_so_but_not_without_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    missing = {"chromium-headless-shell"}
    monkeypatch.setattr(servers, "find_program", lambda *names: None if missing & {*names} else "/bin/it")
    assert servers.install_missing([]) == []
    assert servers.install_missing(["Chromium", "unzip"]) == ["Chromium"]
    assert "the tests that need Chromium will not run, and the run will fail" in capsys.readouterr().err
    missing.add("redis-server")
    with pytest.raises(SystemExit):
        servers.install_missing(["Chromium"])
    assert "apt-get install redis-server chromium-headless-shell" in capsys.readouterr().err
