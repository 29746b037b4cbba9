"""The commands of README and of the recipes, executed as printed, and their answers; and the demo."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_connection
from typing import NamedTuple

import pytest

from scripts import demo
from tests.support.stack import ROOT, Embedded, free_port, wait_for

pytestmark = pytest.mark.needs("the service in a process of its own")

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
SESSION = TEXT.partition("### From a program")[2].partition("## Run it for others")[0]
(CATALOGUE,) = re.findall(r"^```csv\n(.*?)^```", SESSION, re.DOTALL | re.MULTILINE)
#: These two run until they are ended.
SERVE_PICTURES = "python3 -m http.server 8001 --bind 127.0.0.1 --directory demo/pictures"
SERVE = "FETCH_ALLOWED_NETWORKS=127.0.0.0/8 make run"
#: Other on each machine: ids, keys of outputs, and sizes.
VARIABLE = {
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "ID",
    r"[0-9a-f]{2}/[0-9a-f]{40}": "KEY",
    r"\b\d{1,3}(,\d{3})+\b|(?<!127\.0\.0\.1:)\b\d{4,}\b": "NUMBER",
}
#: How far the work is when a change of it is answered.
STATUS = r'"status":"(pending|processing|completed_with_errors)"'


class Command(NamedTuple):
    """A command of a document and the output below it."""

    line: str
    output: str


def commands(text: str) -> list[Command]:
    """Return the commands of the `console` blocks in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [Command(line, output.strip()) for line, _, output in (part.partition("\n") for part in parts)]


def masked(output: str, *, is_change: bool) -> str:
    for variable, name in VARIABLE.items():
        output = re.sub(variable, name, output)
    return re.sub(STATUS, "STATUS", output) if is_change else output


def is_as_printed(shown: str, printed: str, *, is_change: bool) -> bool:
    """Compare outputs; `…` stands for anything, and progress is left out."""
    lines = [line for line in shown.strip().splitlines() if "images done" not in line]
    pattern = ".*".join(map(re.escape, masked(printed, is_change=is_change).split("…")))
    return bool(re.fullmatch(pattern, masked("\n".join(lines), is_change=is_change), re.DOTALL))


class Shell:
    """Runs commands of the document in a folder, with other ports. Its variables last."""

    def __init__(self, folder: Path, service: Embedded, pictures_port: int) -> None:
        self.folder = folder
        self._environment = service.environment | {"PUBLIC_URL": service.url}  # its port is not 8000
        self._ports = {"8000": str(service.port), "8001": str(pictures_port)}

    def localised(self, text: str) -> str:
        text = re.sub(r"\b800[01]\b", lambda match: self._ports[match[0]], text)
        return text.replace(".venv/bin/python manage.py", f"{sys.executable} {ROOT / 'manage.py'}")

    def write(self, name: str, text: str) -> None:
        """Save a file of the document."""
        (self.folder / name).write_text(self.localised(text), encoding="utf-8")

    def run(self, line: str) -> str:
        """Return all that the command prints."""
        script = f". ./variables\n{self.localised(line)}\ndeclare -p ID AGAIN > variables 2> /dev/null"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        return done.stdout

    def check(self, command: Command) -> None:
        """Run a command and compare. What only reads is repeated until the work has come as far."""
        printed = self.localised(command.output)
        if re.match(r'curl -s "?http', command.line):
            latest = ""

            def comes() -> bool:
                nonlocal latest
                latest = self.run(command.line)
                return is_as_printed(latest, printed, is_change=False)

            try:
                wait_for(comes, command.line)
            except AssertionError as error:
                raise AssertionError(f"{command.line}\n{latest}\nbut the page has\n{printed}") from error
            return
        shown = self.run(command.line)
        assert is_as_printed(shown, printed, is_change=True), f"{command.line}\n{shown}\nnot\n{printed}"


@contextmanager
def pictures_served(shell: Shell, folder: Path, port: int) -> Iterator[None]:
    """Serve the pictures of the demo as README says."""
    with subprocess.Popen(
        shell.localised(SERVE_PICTURES).split(), cwd=folder, stderr=subprocess.DEVNULL
    ) as server:

        def answers() -> bool:
            try:
                create_connection(("127.0.0.1", port)).close()
            except OSError:
                return False
            return True

        try:
            wait_for(answers, "the pictures are served")
            yield
        finally:
            server.terminate()


@contextmanager
def demo_in(folder: Path) -> Iterator[Path]:
    """Let the demo have few pictures, and its files in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name, path in (("DEMO_DIR", ""), ("PICTURES_DIR", "pictures"), ("DATA_DIR", "data")):
            patch.setattr(demo, name, folder / path)
        patch.setattr(demo, "PRODUCTS", 2)
        yield folder


@pytest.fixture
def small_demo(tmp_path: Path) -> Iterator[Path]:
    """The folder of a demo of few pictures."""
    with demo_in(tmp_path / "demo") as folder:
        yield folder


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in a folder with the pictures of the demo, which are served, beside a service."""
    folder, port = tmp_path_factory.mktemp("here"), free_port()
    (folder / "service").mkdir()
    (folder / "variables").touch()
    with demo_in(folder / "demo"):
        demo.draw_pictures()
    with Embedded(folder / "service") as service:
        service.serve()
        shell = Shell(folder, service, port)
        with pictures_served(shell, folder, port):
            yield shell


def test_the_session_runs_as_printed(shell: Shell) -> None:
    shell.write("catalogue.csv", CATALOGUE)
    first, second, *others = commands(SESSION)
    assert [first.line, second.line] == [SERVE_PICTURES, SERVE]
    for command in others:
        shell.check(command)
    assert len(list((shell.folder / "new-pictures").iterdir())) == 4


def test_the_recipes_run_as_printed(shell: Shell, subtests: pytest.Subtests) -> None:
    ran = 0
    for page in RECIPES:
        text = page.read_text(encoding="utf-8")
        if not (printed := commands(text)):
            continue
        (source,) = re.findall(r"extract (\S+)", printed[0].line)
        (block,) = re.findall(r"^```(?:csv|xml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) or [CATALOGUE]
        shell.write(source, block)
        for command in printed:
            with subtests.test(page.name, command=command.line):
                shell.check(command)
            ran += 1
    assert ran == 10


def test_every_recipe_says_what_was_tried_and_is_listed() -> None:
    listed = re.findall(
        r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "recipes" / "index.md").read_text(encoding="utf-8")
    )
    assert sorted([*listed, "index.md"]) == [page.name for page in RECIPES]
    for page in RECIPES:
        last = page.read_text(encoding="utf-8").rpartition("\n\n")[2]
        assert page.name == "index.md" or last.startswith(("**Tried:**", "**Not tried:**")), page.name


def test_the_demo_counts_what_extract_counts_and_keeps_to_its_folder(
    small_demo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown, printed_by_it = commands(TEXT.partition("**2. Upload")[0])
    assert shown.line == "make demo"
    for _again in range(2):
        assert demo.main() == 0
        output, messages = capfd.readouterr()
        became = re.search(r"; ([\d,]+) bytes became ([\d,]+)$", messages, re.MULTILINE)
        assert became and f"{became[1]} bytes before, {became[2]} bytes after." in output
        with closing(sqlite3.connect(small_demo / "data" / "db.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM products_request").fetchone() == (1,)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    names = {path.name for path in small_demo.iterdir()}
    assert names == {"catalogue.csv", "result.csv", "pictures", "data"}
    assert all(f"demo/{name}" in "\n".join(printed_by_it) for name in names - {"pictures"})


def test_the_demo_does_not_touch_a_service_in_its_folder(
    small_demo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = small_demo / "data"
    data.mkdir(parents=True)
    with Embedded(data) as service:
        service.serve()
        assert demo.main() == 1
        assert "A service is running in" in capfd.readouterr().err
        assert (data / "db.sqlite3").exists()
