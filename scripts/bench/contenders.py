"""Programs that do the same job: our pipeline in each of its forms, a user's script, img2dataset."""

import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from scripts.bench.measure import Run, cpu_seconds, forget_peaks, peak_megabytes
from tests.support.fork_server import Process
from tests.support.stack import ROOT, Cluster, Deployment, Embedded, wait_for

VENV = ROOT / "var" / "bench" / "venv"
PROCESSES = 2


class Contender(Protocol):
    name: str

    def run(self, urls: list[str]) -> Run:
        """Do the job once."""


class Service:
    """Our own, as a running deployment; `workers` are the processes whose CPU counts."""

    def __init__(self, name: str, deployment: Deployment, workers: list[Process]) -> None:
        self.name = name
        self.deployment = deployment
        self.groups = [worker.pid for worker in workers]
        token = f"Token {deployment.token()}" if isinstance(deployment, Cluster) else ""
        self.client = deployment.client(headers={"Authorization": token} if token else {})

    def run(self, urls: list[str]) -> Run:
        forget_peaks(self.groups)
        before = cpu_seconds(self.groups)
        batch = self.finished(self.submit(urls)["id"])
        used = cpu_seconds(self.groups) - before
        if batch["images"]["completed"] != len(urls):
            sys.exit(f"bench: {self.name}: {batch['images']} of {len(urls)} images")
        return Run(len(urls), seconds_of(batch), used, peak_megabytes(self.groups))

    def submit(self, urls: list[str], **options: Any) -> dict[str, Any]:
        """Upload a catalogue with a row for each URL: the Request."""
        rows = "".join(f"{number},Lamp,{url}\n" for number, url in enumerate(urls))
        catalogue = f"Serial Number,Product Name,Input Image Urls\n{rows}"
        files = {"file": ("lamps.csv", catalogue)}
        answer = self.client.post("/api/requests/", files=files, data=options)
        batch: dict[str, Any] = answer.raise_for_status().json()
        return batch

    def batch(self, pk: str) -> dict[str, Any]:
        """The Request as it is now."""
        batch: dict[str, Any] = self.client.get(f"/api/requests/{pk}/").raise_for_status().json()
        return batch

    def finished(self, pk: str) -> dict[str, Any]:
        """The Request when it has finished. It is asked seldom: answering is work, too."""
        while not (batch := self.batch(pk))["finished_at"]:
            time.sleep(0.5)
        return batch


def seconds_of(batch: dict[str, Any]) -> float:
    """From upload to finish, by the service's own clock."""
    created, finished = (datetime.fromisoformat(batch[name]) for name in ("created_at", "finished_at"))
    return (finished - created).total_seconds()


def embedded(stack: ExitStack, directory: Path, **environment: str) -> Service:
    """`manage.py serve` without any service; it runs until the stack is closed."""
    deployment = stack.enter_context(Embedded(directory, **environment))
    return Service("embedded", deployment, [deployment.serve()])


def cluster(stack: ExitStack, name: str, directory: Path, **environment: str) -> Service:
    """gunicorn and two worker processes on PostgreSQL and Redis, likewise."""
    deployment = stack.enter_context(Cluster(directory, **environment))
    deployment.web()
    return Service(name, deployment, deployment.workers(PROCESSES))


class Command:
    """Somebody else's, started for each job."""

    name: str

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, urls: list[str]) -> Run:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        (self._directory / "urls.txt").write_text("\n".join(urls))
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(self._command(len(urls)), cwd=self._directory, check=True, capture_output=True)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if (made := len(list(self._directory.glob("out/**/*.jpg")))) != len(urls):
            sys.exit(f"bench: {self.name} made {made} of {len(urls)} images")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(len(urls), seconds, cpu, 0)

    def _command(self, count: int) -> list[str]:
        raise NotImplementedError


class UserScript(Command):
    name = "script"

    def _command(self, count: int) -> list[str]:
        return [str(VENV / "bin/python"), str(Path(__file__).with_name("user_script.py")), "urls.txt", "out"]


class Img2dataset(Command):
    name = "img2dataset"

    def _command(self, count: int) -> list[str]:
        options = {
            "url_list": "urls.txt",
            "output_folder": "out",
            "output_format": "files",
            "resize_mode": "no",
            "encode_quality": 50,
            "processes_count": PROCESSES,
            "number_sample_per_shard": max(1, count // (2 * PROCESSES)),  # else one process has all of it
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        return [str(VENV / "bin/img2dataset"), *arguments]


def install_others() -> bool:
    """Install what the others need into an environment of their own; False, said aloud, where that fails."""
    if (VENV / "bin/img2dataset").exists():
        return True
    print("bench: installing img2dataset and requests", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [str(VENV / "bin/pip"), "install", "--quiet", "img2dataset", "requests", "pillow"]
    if subprocess.run(pip, check=False, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}).returncode:
        print("bench: they could not be installed and are left out", file=sys.stderr)
        shutil.rmtree(VENV)
        return False
    return True


def wait_idle(service: Service, pk: str) -> None:
    """Return when a canceled Request has let go of everything."""
    wait_for(lambda: service.batch(pk)["images"]["pending"] == 0, "the cancel is through")
