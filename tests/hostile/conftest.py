"""The table of what hostile inputs have cost."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def processes_are_forked() -> None:
    """Not here: they are measured."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("hostile inputs")
    heads = f"{'input':<56} {'CPU s':>7} {'seconds':>7}  times slower for another user"
    terminalreporter.write_line(heads)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, line in report.user_properties:
                if name == "hostile":
                    mode = report.nodeid.partition("[")[2].partition("-")[0]
                    terminalreporter.write_line(f"{line}  {mode}, {outcome}")
