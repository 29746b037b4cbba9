"""Measures speed, scale and waiting on this machine, and writes docs/performance.{md,json}.

    .venv/bin/python scripts/servers.py -- .venv/bin/python -m scripts.bench [--rounds N] [--scale F]
        [--long] [--no-write]

Contenders take turns in every round and medians count, since machines drift. With BENCH_S3_ENDPOINT_URL,
BENCH_S3_BUCKET, BENCH_S3_ACCESS_KEY_ID and BENCH_S3_SECRET_ACCESS_KEY the pipeline is measured with S3, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.bench import codec, components, likeness, origin, report, scale, waiting
from scripts.bench.contenders import (
    Command,
    Contender,
    Img2dataset,
    Service,
    UserScript,
    cluster,
    embedded,
    install_others,
)
from scripts.bench.measure import Run, middle
from tests.support.servers import redis_database
from tests.support.stack import ROOT

COUNTS = {400: 4000, 1000: 1500, 2000: 400}
CODEC_COUNTS = {400: 300, 1000: 100, 2000: 40}
LARGE_ROWS, SQLITE_ROWS = 200_000, 40_000
LONG = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed, scale and waiting.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of pictures and rows")
    parser.add_argument("--long", action="store_true", help=f"work through {LONG:,} small pictures, too")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        figures = Bench(Path(directory), options.rounds, options.scale).figures(long=options.long)
    print(report.tables(figures))
    if not options.no_write:
        report.write(figures)
    say("real photographs")
    likeness.compare(max(4, round(likeness.COUNT * options.scale)), write=not options.no_write)


class Bench:
    """One run of everything."""

    def __init__(self, root: Path, rounds: int, factor: float) -> None:
        self.root, self.rounds, self.factor = root, rounds, factor
        self.counts = {size: max(20, round(count * factor)) for size, count in COUNTS.items()}
        self._serial = 0

    def figures(self, *, long: bool) -> dict[str, Any]:
        """All figures."""
        figures: dict[str, Any] = {"machine": report.machine(), "rounds": self.rounds, "commit": _commit()}
        figures["codec"] = report.codec()
        say("drawing pictures")
        origin.draw(self.root, self.counts | ({16: 1000} if long else {}))
        with origin.nginx(self.root) as url, ExitStack() as stack:
            services = list(self._services(stack))
            figures["sizes"] = self._sizes(url, services)
            say("components")
            figures["components_ms"] = components.costs(services[1], self._urls(url, 400, self.counts[400]))
            figures |= self._waiting(url, services)
            if long:
                figures["drift"] = self._drift(url, services[1])
        figures["slow_origin_cost"] = self._slow()
        figures["scale"] = self._scale()
        return figures

    def _services(self, stack: ExitStack) -> Iterator[Service]:
        say("starting services")
        yield embedded(stack, self._folder("embedded"))
        yield cluster(stack, "cluster", self._folder("cluster"))
        if "BENCH_S3_ENDPOINT_URL" in os.environ:
            redis_url = redis_database(os.environ["REDIS_URL"], 2)
            yield cluster(stack, "cluster, S3", self._folder("s3"), redis_url=redis_url, **_s3())
        else:
            say("no S3: BENCH_S3_ENDPOINT_URL is not set")

    def _sizes(self, url: str, services: list[Service]) -> dict[str, Any]:
        others: list[Command] = []
        if install_others():
            others = [UserScript(self.root / "script"), Img2dataset(self.root / "img2dataset")]
        runs: dict[tuple[int, str], list[Run]] = defaultdict(list)
        bare: dict[tuple[int, str], list[float]] = defaultdict(list)
        starts: list[Run] = []
        for number in range(self.rounds):
            if others:
                starts.append(others[-1].run(self._urls(url, 400, 4)))
            for size in self.counts:
                say(f"round {number + 1} of {self.rounds}, {size} px")
                for name in ("simplejpeg", "pillow"):
                    folder = self.root / "pictures" / str(size)
                    bare[size, name].append(
                        codec.bare(name, folder, min(CODEC_COUNTS[size], self.counts[size]))
                    )
                contenders: list[Contender] = [*services, *others]
                for contender in contenders:
                    runs[size, contender.name].append(contender.run(self._urls(url, size, self.counts[size])))
        return {str(size): self._size(size, runs, bare, starts) for size in self.counts}

    def _size(
        self,
        size: int,
        runs: dict[tuple[int, str], list[Run]],
        bare: dict[tuple[int, str], list[float]],
        starts: list[Run],
    ) -> dict[str, Any]:
        files = list((self.root / "pictures" / str(size)).iterdir())
        return {
            "kilobytes": sum(file.stat().st_size for file in files) / len(files) / 1000,
            "codec_ms": {name: middle(bare[size, name]) * 1000 for name in ("simplejpeg", "pillow")},
            "contenders": {
                # What it takes to start counts in img2dataset's seconds, but not in its rate and CPU.
                name: _summary(found, starts if name == Img2dataset.name else [])
                for (one, name), found in runs.items()
                if one == size
            },
        }

    def _waiting(self, url: str, services: list[Service]) -> dict[str, Any]:
        say("waiting")
        one, two = services[:2]
        return {
            "latency_seconds": {
                service.name: waiting.latency(service, self._urls(url, 400, 11)) for service in (one, two)
            },
            "fairness_seconds": waiting.fairness(two, f"{url}/400", self.counts[400]),
        }

    def _slow(self) -> float:
        say("a slow origin")
        pictures = self.root / "pictures" / "1000"
        return waiting.slowness(self._folder("slow"), pictures, self.counts[1000], self.rounds)

    def _scale(self) -> dict[str, Any]:
        say("a large catalogue")
        found = scale.postgres(self._folder("large"), round(LARGE_ROWS * self.factor))
        rate = scale.sqlite(self._folder("sqlite"), round(SQLITE_ROWS * self.factor))
        return found | {"sqlite_urls_per_second": rate}

    def _drift(self, url: str, service: Service) -> dict[str, Any]:
        say("a long request")
        count = round(LONG * self.factor)
        first, last = scale.drift(service, [f"{url}/16/{n % 1000}.jpg?{n}" for n in range(count)])
        return {"images": count, "first_ms": first * 1000, "last_ms": last * 1000}

    def _urls(self, url: str, size: int, count: int) -> list[str]:
        """Addresses that nobody has asked for yet: what is known already is not fetched again."""
        self._serial += 1
        return [f"{url}/{size}/{number}.jpg?run={self._serial}" for number in range(count)]

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir()
        return folder


def _summary(runs: list[Run], starts: list[Run]) -> dict[str, Any]:
    seconds, cpu = middle([run.seconds for run in runs]), middle([run.cpu for run in runs])
    start = middle([run.seconds for run in starts] or [0])
    start_cpu = middle([run.cpu for run in starts] or [0])
    count = runs[0].images
    return {
        "images": count,
        "seconds": seconds,
        "rate": count / (seconds - start),
        "cpu_ms": (cpu - start_cpu) / count * 1000,
        "megabytes": max(run.megabytes for run in runs),
    }


def _s3() -> dict[str, str]:
    """Settings of a deployment with S3, from the variables of the bench."""
    variables = {
        "AWS_S3_ENDPOINT_URL": "BENCH_S3_ENDPOINT_URL",
        "AWS_STORAGE_BUCKET_NAME": "BENCH_S3_BUCKET",
        "AWS_ACCESS_KEY_ID": "BENCH_S3_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY": "BENCH_S3_SECRET_ACCESS_KEY",
    }
    return {name: os.environ[variable] for name, variable in variables.items()}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
