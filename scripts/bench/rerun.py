"""The cost of a second run of a catalogue: unchanged, and with one picture in a hundred changed.

    .venv/bin/python scripts/servers.py nginx -- .venv/bin/python -m scripts.bench.rerun [--pictures COUNT]
        [--rounds N] [--no-write]

Each deployment takes the same catalogue three times, from an origin on loopback and from one behind a line:
pictures of 1000 px, each with bytes of its own. Medians of the rounds count, each with new deployments, and
are written to docs/performance.md. Ends with an error where a result, the list of changes or the line itself
is not what it has to be.
"""

import argparse
import csv
import io
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from scripts.bench import report
from scripts.bench.contenders import PROCESSES, Service, cluster, embedded, seconds_of
from scripts.bench.line import line
from scripts.bench.measure import cpu_seconds, middle
from scripts.bench.origin import draw, nginx
from tests.support.pictures import photo_jpeg

SIZE = 1000
MEGABITS = 50
#: What an unchanged catalogue's bytes are to stay below, as a part of a new one's.
MOST_BYTES = 0.02
#: What the line is tried out by: so many bytes over so many connections, and how far off their time may be.
PLAIN_BYTES, PLAIN_CONNECTIONS, TOLERANCE = 20_000_000, (1, 16), 0.05


class Case(NamedTuple):
    """A deployment and an origin; how many times faster than a new catalogue an unchanged one is to be."""

    is_cluster: bool
    megabits: int | None
    target: float

    @property
    def name(self) -> str:
        deployment = f"{PROCESSES} workers" if self.is_cluster else "embedded"
        return f"{deployment}, {self.megabits} Mbit/s" if self.megabits else deployment


CASES = [Case(False, None, 3), Case(True, None, 5), Case(False, MEGABITS, 10), Case(True, MEGABITS, 10)]


class Once(NamedTuple):
    """A catalogue taken once: seconds from upload to finish, CPU seconds of the workers, bytes sent."""

    seconds: float
    cpu: float
    sent: int
    result: bytes
    changes: dict[str, str]  # by URL


class Figures(NamedTuple):
    """The figures of a round; `sent` are bytes as a part of the first run's."""

    first: float
    again: float
    times: float
    sent: float
    cpu_ms: float
    some: float


def main() -> None:
    parser = argparse.ArgumentParser(description="What a catalogue costs that comes again.")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args()
    found: dict[Case, list[Figures]] = {case: [] for case in CASES}
    machine = report.machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root = Path(directory)
        draw(root, {SIZE: options.pictures})
        tried = try_line(root)
        for number in range(options.rounds):
            for case in CASES:
                print(f"bench: round {number + 1} of {options.rounds}, {case.name}", file=sys.stderr)
                found[case].append(measure(root, case, options.pictures))
    made = f"{machine}; {options.pictures:,} pictures, {options.rounds} rounds, medians."
    text = f"{made} {tried}\n\n{table(found)}"
    print(text)
    if not options.no_write:
        report.put("scripts.bench.rerun", text)


def try_line(root: Path) -> str:
    """See that plain downloads take the time that they must; in a sentence."""
    plain, right, taken = root / "pictures" / "plain", PLAIN_BYTES * 8 / 1e6 / MEGABITS, []
    with nginx(root) as origin, line(origin, MEGABITS) as url, httpx.Client() as client:
        for connections in PLAIN_CONNECTIONS:
            plain.write_bytes(bytes(PLAIN_BYTES // connections))
            start = time.monotonic()
            with ThreadPoolExecutor(connections) as threads:
                list(threads.map(client.get, [f"{url}/plain"] * connections))
            taken.append(time.monotonic() - start)
    expect(all(abs(seconds / right - 1) < TOLERANCE for seconds in taken), f"the line is off: {taken}")
    ways = " and ".join(
        f"{seconds:.2f} s over {connections}"
        for seconds, connections in zip(taken, PLAIN_CONNECTIONS, strict=True)
    )
    return (
        f"The line alone: {PLAIN_BYTES / 1e6:.0f} MB in {ways} connections, "
        f"{right:.2f} s being {MEGABITS} Mbit/s."
    )


def measure(root: Path, case: Case, count: int) -> Figures:
    """A new catalogue, the same again, and with some pictures changed, taken by a new deployment."""
    with ExitStack() as stack:
        url = stack.enter_context(nginx(root, f"access_log {root}/sent bytes;"))
        if case.megabits:
            url = stack.enter_context(line(url, case.megabits))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=root)))
        service = cluster(stack, case.name, folder) if case.is_cluster else embedded(stack, folder)
        urls = [f"{url}/{SIZE}/{number}.jpg" for number in range(count)]
        first, again = take(service, root, urls), take(service, root, urls)
        expect(again.result == first.result, "the result of an unchanged catalogue is another one")
        expect(set(again.changes.values()) == {"unchanged"}, "an unchanged catalogue has changed")
        with other_pictures(root, range(0, count, 100)):
            some = take(service, root, urls)
    changed = {url for url, change in some.changes.items() if change == "changed"}
    expect(changed == set(urls[::100]), "others have changed")
    times, sent = first.seconds / again.seconds, again.sent / first.sent
    return Figures(first.seconds, again.seconds, times, sent, again.cpu / count * 1000, some.seconds)


def take(service: Service, root: Path, urls: list[str]) -> Once:
    """A catalogue of these pictures."""
    (root / "sent").write_bytes(b"")
    before = cpu_seconds(service.groups)
    batch = service.finished(service.submit(urls)["id"])
    cpu = cpu_seconds(service.groups) - before
    expect(batch["images"]["completed"] == len(urls), f"not all completed: {batch['images']}")
    sent = sum(map(int, (root / "sent").read_text().split()))
    path = f"/api/requests/{batch['id']}/results.csv"
    result = service.client.get(path).raise_for_status().content
    text = service.client.get(path, params={"style": "changes"}).raise_for_status().text
    rows = csv.DictReader(io.StringIO(text, newline=""))
    changes = {row["Input Image Url"]: row["Change"] for row in rows}
    return Once(seconds_of(batch), cpu, sent, result, changes)


@contextmanager
def other_pictures(root: Path, numbers: Iterable[int]) -> Iterator[None]:
    """Other pictures under these numbers, until the end of the block."""
    paths = {root / "pictures" / str(SIZE) / f"{number}.jpg": number for number in numbers}
    kept = {path: path.read_bytes() for path in paths}
    for path, number in paths.items():
        path.write_bytes(photo_jpeg(SIZE, SIZE * 3 // 4, seed=number, quality=90))
    yield
    for path, data in kept.items():
        path.write_bytes(data)


def table(found: Mapping[Case, list[Figures]]) -> str:
    """Markdown, each target beside its figure."""
    lines = [
        "| deployment | first s | again s | times faster | target | bytes again | target "
        "| CPU ms/image again | 1 % changed s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, rounds in found.items():
        figures = Figures(*(middle(list(column)) for column in zip(*rounds, strict=True)))
        is_fast, is_small = figures.times >= case.target, figures.sent < MOST_BYTES
        lines.append(
            f"| {case.name} | {figures.first:.1f} | {figures.again:.1f} "
            f"| {figures.times:.1f} | ≥ {case.target}{'' if is_fast else ', **not met**'} "
            f"| {figures.sent:.2%} | < {MOST_BYTES:.0%}{'' if is_small else ', **not met**'} "
            f"| {figures.cpu_ms:.2f} | {figures.some:.1f} |"
        )
    return "\n".join(lines) + "\n"


def expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        sys.exit(f"bench: {otherwise}")


if __name__ == "__main__":
    main()
