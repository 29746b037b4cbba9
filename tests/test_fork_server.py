"""Programs that tests start by a fork are processes as any."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.stack import wait_for

pytestmark = pytest.mark.needs("a process of its own")

PROGRAM = """
import os, signal, sys
print(os.getcwd(), sys.argv, sorted(os.environ), sys.stdin.read(), __name__, "aiohttp" in sys.modules)
print("error", file=sys.stderr)
if sys.argv[1:] == ["wait"]:
    signal.pause()
sys.exit(7)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


def test_it_has_its_own_arguments_environment_folder_files_and_exit_code(
    program: str, tmp_path: Path
) -> None:
    done = fork_server.run([program, "a b"], env={"ONE": "1"}, cwd=tmp_path, stdin=b"given")
    assert (done.returncode, done.stderr) == (7, b"error\n")
    assert done.stdout.decode() == f"{tmp_path} [{program!r}, 'a b'] ['ONE'] given __main__ True\n"


def test_variables_of_python_itself_hold_for_it(program: str) -> None:
    done = fork_server.run_text([program], env={"PYTHONIOENCODING": "latin-1", "LC_CTYPE": "C.UTF-8"})
    assert done.returncode == 7
    assert done.stdout.endswith("__main__ False\n"), "a new interpreter"


def test_it_has_a_session_of_its_own_and_ends_by_a_signal(program: str, tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("wb") as output:
        process = fork_server.start([program, "wait"], env={}, stdout=output, stderr=output)
    wait_for(lambda: "error" in path.read_text(), "it runs")
    assert process.poll() is None
    assert os.getsid(process.pid) == process.pid
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.terminate()
    assert process.wait(60) == process.returncode == -signal.SIGTERM
    process.terminate()  # nothing, since it has ended
