"""`serve` with files, folders and addresses that it cannot use: one sentence, and it ends."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.stack import Embedded, free_port

pytestmark = pytest.mark.needs("the service in a process of its own")

KEY = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLUSTER = {"SECRET_KEY": KEY, "DATABASE_URL": "postgresql://127.0.0.1:1/shop"}


def serve(data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data_dir), **environment}
    program = ["manage.py", "serve", "--bind", f"127.0.0.1:{free_port()}"]
    return fork_server.run_text(program, env=environment)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str | Path) -> None:
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert line.lower().startswith(("error: ", "commanderror: "))
    for part in parts:
        assert str(part) in line


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def folder(name: str) -> Callable[[Path], object]:
    return lambda data_dir: (data_dir / name).mkdir()


@pytest.mark.parametrize(
    ("prepare", "name", "advice"),
    [
        (write("secret_key", b""), "secret_key", "delete it"),
        (write("secret_key", b"half of a k"), "secret_key", "delete it"),
        (write("secret_key", b"\xff" * 60), "secret_key", "delete it"),
        (folder("secret_key"), "secret_key", "can be written to"),
        (write("db.sqlite3", b"Serial Number,Product Name\n" * 100), "db.sqlite3", "from a backup"),
        (write("db.sqlite3", b"SQLite format 3\0" + b"x" * 8000), "db.sqlite3", "from a backup"),
        (folder("db.sqlite3"), "db.sqlite3", "may be written"),
        (folder("lock"), "lock", "cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, prepare: Callable[[Path], object], name: str, advice: str
) -> None:
    prepare(tmp_path)
    assert_one_sentence(serve(tmp_path), tmp_path / name, advice)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert_one_sentence(serve(file), "DATA_DIR", file)
    assert_one_sentence(serve(Path("/proc/nothing")), "DATA_DIR", "/proc/nothing")


@pytest.mark.parametrize("url", ["nonsense", "redis://host:port/0", "redis://host?socket_timeout=soon"])
def test_an_address_of_redis_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    assert_one_sentence(serve(tmp_path, REDIS_URL=url, **CLUSTER), "REDIS_URL must be a URL")


@pytest.mark.parametrize(
    "url", ["postgresql://", "postgresql://host:port/shop", "postgresql://127.0.0.1:1/shop"]
)
def test_a_database_that_does_not_answer_ends_the_start(tmp_path: Path, url: str) -> None:
    done = serve(tmp_path, DATABASE_URL=url)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "database" in done.stderr.lower()


def test_one_service_at_a_time_uses_a_database(tmp_path: Path) -> None:
    """Whatever its DATA_DIR, and by whatever path it names the file."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    link = second / "link.sqlite3"
    link.symlink_to(first / "db.sqlite3")
    with Embedded(first) as service:
        service.serve()
        for path in (first / "db.sqlite3", link):
            done = serve(second, DATABASE_URL=f"sqlite:///{path}")
            assert_one_sentence(done, "another DATA_DIR", path)
        assert "is running in" in serve(first).stderr
    with Embedded(second, DATABASE_URL=f"sqlite:///{link}") as service:
        service.serve()


def test_on_all_addresses_the_log_shows_how_to_log_in_first(tmp_path: Path) -> None:
    """As in a container, whose only output is the log, and which begins with an empty folder."""
    with Embedded(tmp_path) as service:
        (tmp_path / "db.sqlite3").unlink()
        process = service.start("manage.py", "serve", "--bind", f"0.0.0.0:{service.port}")
        service.wait_until_up(process)
        (link,) = re.findall(
            rf"Nobody can log in yet\. .*: http://localhost:{service.port}(/\S+)", service.log()
        )
        with service.client(follow_redirects=True) as client:
            assert str(client.get("/").url).endswith("/login/?next=/")
            page = client.get(link)
            token = client.cookies["csrftoken"]
            password = {"new_password1": "correct horse battery", "new_password2": "correct horse battery"}
            home = client.post(page.url, data={**password, "csrfmiddlewaretoken": token})
            assert home.url.path == "/" and "Log out" in home.text
        process.terminate()
        assert process.wait(60) == 0


def test_a_weak_password_of_the_first_account_ends_the_start(tmp_path: Path) -> None:
    done = serve(tmp_path, OPEN_ACCESS="no", ADMIN_EMAIL="ann@shop.example", ADMIN_PASSWORD="password")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ADMIN_PASSWORD is refused: ")
