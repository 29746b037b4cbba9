"""Pictures that kill what decodes them, in real child processes."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest import LogCaptureFixture, MonkeyPatch

from processing.compress import (
    Compressed,
    CompressError,
    OutputOptions,
    Recipe,
    TimeLimitError,
    child_process,
    compress,
    compress_isolated,
)
from processing.compress.child_process import CPU_SECONDS, TIMEOUT_SECONDS
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from products.models import Image, Request
from tests.support.batches import held, ingested
from tests.support.factories import make_csv
from tests.support.origin import Origin
from tests.support.parallel import wait_until
from tests.support.pictures import cmyk_jpeg, palette_png, photo_jpeg, rgba_png, truncated
from tests.support.stack import Embedded, wait_for
from tests.support.weakness import touching, weaken_children

CAP = 50_000_000


@pytest.fixture(autouse=True)
def weak_decoder(tmp_path: Path, monkeypatch: MonkeyPatch) -> Path:
    return weaken_children(monkeypatch, tmp_path / "weak")


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    """A locked file that children inherit if nothing prevents it, as embedded mode's."""
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.set_inheritable(descriptor, True)
    yield path
    os.close(descriptor)


def isolated(
    data: bytes, options: Recipe | None = None, *, max_pixels: int = CAP, seconds: int = TIMEOUT_SECONDS
) -> Compressed:
    return compress_isolated(data, options or Recipe(), max_pixels=max_pixels, seconds=seconds)


def refused(data: bytes, *, max_pixels: int = CAP, seconds: int = TIMEOUT_SECONDS) -> CompressError:
    with pytest.raises(CompressError) as caught:
        isolated(data, max_pixels=max_pixels, seconds=seconds)
    return caught.value


# --- What comes out ---


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (photo_jpeg(), Recipe()),
        (photo_jpeg(), Recipe(quality=80, format="avif", max_width=100)),
        (cmyk_jpeg(), Recipe(format="webp")),
        (rgba_png(), Recipe(format="original", max_height=50)),
        (palette_png(), Recipe()),
    ],
)
def test_a_sound_picture_comes_out_as_it_would_in_this_process(data: bytes, options: Recipe) -> None:
    assert isolated(data, options) == compress(data, options, max_pixels=CAP)


@pytest.mark.parametrize(
    ("data", "max_pixels", "code"),
    [
        (b"", CAP, "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", CAP, "unsupported_format"),
        (truncated(rgba_png()), CAP, "corrupt_image"),
        (photo_jpeg(20, 20), 399, "too_many_pixels"),
    ],
)
def test_a_picture_that_cannot_be_read_is_refused_as_it_would_be_in_this_process(
    data: bytes, max_pixels: int, code: str
) -> None:
    with pytest.raises(CompressError) as expected:
        compress(data, Recipe(), max_pixels=max_pixels)
    error = refused(data, max_pixels=max_pixels)
    assert (error.code, error.detail) == (code, expected.value.detail)


def test_a_picture_with_renditions_has_more_time(monkeypatch: MonkeyPatch) -> None:
    limits = list[tuple[int, int]]()
    run = child_process._ForkServer.run

    def note(server: Any, task: dict[str, Any], data: bytes) -> Any:
        limits.append((task["seconds"], task["cpu_seconds"]))
        return run(server, task, data)

    monkeypatch.setattr(child_process._ForkServer, "run", note)
    isolated(photo_jpeg())
    isolated(photo_jpeg(), Recipe(renditions=(OutputOptions(max_width=50),) * 8))
    # Nine pictures of 50 megapixels to AVIF take 225 seconds of CPU time.
    assert limits == [(TIMEOUT_SECONDS, CPU_SECONDS), (TIMEOUT_SECONDS + 400, CPU_SECONDS + 400)]


# --- What kills ---


@pytest.mark.parametrize("weakness", ["segfault", "leave", "leave_quietly", "leave_after_the_answer"])
def test_a_picture_whose_child_dies_is_refused_as_crashed(weakness: str) -> None:
    error = refused(touching(weakness))
    assert error.code == "crashed"
    assert error.detail.startswith("The picture crashes the image decoder.")


def test_a_decoder_that_stumbles_does_not_die() -> None:
    assert refused(touching("stumble")).code == "corrupt_image"


def test_what_the_child_said_as_it_died_is_logged(caplog: LogCaptureFixture) -> None:
    refused(touching("segfault"))
    [record] = caplog.records
    assert "ended with -11" in record.getMessage()
    assert "Segmentation fault" in record.getMessage()


@pytest.mark.needs("more time")
def test_a_picture_that_takes_too_much_processor_time_is_refused_as_crashed(
    monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    run = child_process._ForkServer.run

    def run_without_a_clock(server: Any, task: dict[str, Any], data: bytes) -> Any:
        return run(server, task | {"seconds": 250}, data)

    monkeypatch.setattr(child_process._ForkServer, "run", run_without_a_clock)
    error = refused(touching("loop"), seconds=2)
    assert (type(error), error.code) == (TimeLimitError, "crashed")
    assert "ended with -" in caplog.text


@pytest.mark.needs("more time")
def test_a_picture_that_takes_too_long_is_refused_as_crashed(caplog: LogCaptureFixture) -> None:
    error = refused(touching("wait"), seconds=2)
    assert (type(error), error.code) == (TimeLimitError, "crashed")
    assert "took longer than 2 s" in caplog.text


def test_a_picture_that_takes_too_much_memory_is_refused_as_crashed_and_not_for_its_pixels(
    caplog: LogCaptureFixture,
) -> None:
    assert refused(touching("hog")).code == "crashed"
    assert "MemoryError" in caplog.text


# --- What a child is ---


def servers() -> list[int]:
    """The process ids of the servers that wait for their next picture."""
    return [server._process.pid for server in child_process._servers._idle]


def test_pictures_one_after_another_have_children_of_one_server() -> None:
    expected = compress(photo_jpeg(), Recipe(), max_pixels=CAP)
    assert isolated(photo_jpeg()) == expected
    started = servers()
    assert len(started) == 1
    assert [refused(touching(name)).code for name in ("segfault", "leave", "hog")] == ["crashed"] * 3
    assert isolated(photo_jpeg()) == expected
    assert servers() == started


def test_a_server_that_was_killed_is_replaced() -> None:
    isolated(photo_jpeg())
    [killed] = servers()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: has_ended(killed))
    assert isolated(photo_jpeg(40, 30)).output.width == 40
    assert killed not in servers()


def test_a_server_that_is_not_needed_ends(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "SERVER_IDLE_SECONDS", 0.1)
    with child_process._servers.one() as server:
        pass
    wait_until(lambda: server._process.returncode == 0)


def test_a_server_without_a_picture_ends_with_a_worker_that_is_killed() -> None:
    program = (
        "import os, signal; from processing.compress import Recipe, child_process as child;"
        "from tests.support.pictures import photo_jpeg;"
        "child.compress_isolated(photo_jpeg(), Recipe(), max_pixels=10**6);"
        "print([server._process.pid for server in child._servers._idle][0], flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=False)
    wait_until(lambda: has_ended(int(done.stdout)))


@pytest.mark.parametrize("weakness", ["find_secrets", "find_django", "dump_core", "volunteer"])
def test_a_child_has_no_secrets_no_django_and_no_core_dump_and_dies_first_when_memory_runs_out(
    weakness: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    assert isolated(touching(weakness)).output.width == 64


def test_a_child_does_not_inherit_a_lock(lock: Path) -> None:
    assert isolated(touching("find_files")).output.width == 64


def test_a_child_finishes_although_all_of_the_service_is_told_to_stop() -> None:
    assert isolated(touching("survive_termination")).output.width == 64


def test_a_child_ends_with_a_worker_that_is_killed(tmp_path: Path, weak_decoder: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(touching("wait"))
    program = (
        "import sys; from pathlib import Path; from processing.compress import Recipe, compress_isolated;"
        "compress_isolated(Path(sys.argv[1]).read_bytes(), Recipe(), max_pixels=10_000)"
    )
    path = os.pathsep.join([str(weak_decoder), *sys.path])
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(picture)], env={**os.environ, "PYTHONPATH": path}
    )
    started: list[int] = []
    try:
        wait_until(lambda: any(map(children_of, children_of(worker.pid))))
        [server] = children_of(worker.pid)
        started += [server, *children_of(server)]
    finally:
        worker.kill()
        worker.wait()
    try:
        wait_until(lambda: all(map(has_ended, started)))
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]


def has_ended(pid: int) -> bool:
    """Return True if the process has ended: it is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def test_a_child_that_cannot_start_is_not_held_against_the_picture(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RuntimeError, match="No module named"):
        isolated(photo_jpeg())


# --- In the pipeline ---


@pytest.mark.django_db(transaction=True)
def test_of_the_pictures_in_hand_of_a_dead_worker_only_the_one_that_kills_fails(
    pipeline: Pipeline, origin: Origin
) -> None:
    sound = [origin.add(f"/{number}.jpg", photo_jpeg(64, 48, seed=number)) for number in range(3)]
    batch = ingested(*sound, origin.add("/poison.jpg", touching("segfault")))
    batch.images.update(crashes=1)
    images = worked_on(batch, pipeline)

    assert [image.status for image in images] == ["completed"] * 3 + ["failed"]
    assert [image.attempts for image in images] == [1] * 4
    assert images[-1].error_code == "crashed"
    assert batch.status == Request.Status.COMPLETED_WITH_ERRORS


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_was_in_hand_of_no_dead_worker_gets_no_child(
    pipeline: Pipeline, origin: Origin
) -> None:
    batch = ingested(origin.add("/poison.jpg", touching("segfault")))
    [image] = worked_on(batch, pipeline)
    assert image.status == "completed"  # by this process, whose decoder is not weak


def worked_on(batch: Request, pipeline: Pipeline) -> list[Image]:
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 1000))
    wait_until(lambda: not held())
    batch.refresh_from_db()
    return list(batch.images.order_by("number"))


# --- With a worker that really dies ---


@pytest.mark.needs("the service in a process of its own")
def test_a_picture_that_kills_the_worker_fails_and_the_service_goes_on(
    weak_decoder: Path, origin: Origin, tmp_path: Path
) -> None:
    sound = [origin.add(f"/{number}.jpg", photo_jpeg(64, 48, seed=number)) for number in range(3)]
    catalogue = make_csv((1, "Chair", ",".join([*sound, origin.add("/poison.jpg", touching("segfault"))])))
    with Embedded(tmp_path, PYTHONPATH=str(weak_decoder)) as service, service.client() as client:
        service.serve()
        request_id = client.post("/api/requests/", files={"file": ("a.csv", catalogue)}).json()["id"]

        def finished() -> dict[str, Any] | None:
            with suppress(httpx.TransportError):  # while the worker, which is the web server too, is dead
                state: dict[str, Any] = client.get(f"/api/requests/{request_id}/").json()
                return state if state["finished_at"] else None
            return None

        state = wait_for(finished, "the request finishes")
        assert (state["images"]["completed"], state["images"]["failed"]) == (3, 1)
        [image] = client.get(f"/api/requests/{request_id}/images/?status=failed").json()["results"]
        assert (image["url"], image["error"]["code"]) == (origin.url("/poison.jpg"), "crashed")
        assert "was sent SIGSEGV" in service.log()
