"""What a catalogue costs that comes again: unchanged, and with one picture in a hundred changed.

    .venv/bin/python scripts/servers.py -- .venv/bin/python -m scripts.bench.rerun [--pictures COUNT]

Each deployment takes the same catalogue three times: pictures of 1000 px, each with bytes of its own. Seconds
are from upload to finish, bytes what nginx has sent, headers included. Ends with an error where a result or
the list of changes is not what it has to be.
"""

import argparse
import csv
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from scripts.bench.origin import draw, nginx
from tests.pictures import photo_jpeg
from tests.stack import Cluster, Embedded, wait_for

SIZE = 1000
DEPLOYMENTS = (0, 2)  # workers; none is embedded


def main() -> None:
    parser = argparse.ArgumentParser(description="What a catalogue costs that comes again.")
    parser.add_argument("--pictures", type=int, default=2000)
    count = parser.parse_args().pictures
    print("| deployment | first s | again s | times faster | bytes again | 1 % changed s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        draw(root, {SIZE: count})
        for workers in DEPLOYMENTS:
            with (
                nginx(root, f"access_log {root}/sent bytes;") as url,
                deployed(root, workers) as client,
            ):
                print(f"| {f'{workers} workers' if workers else 'embedded'} | ", end="")
                print(measure(client, root, url, count), flush=True)


@contextmanager
def deployed(root: Path, workers: int) -> Iterator[httpx.Client]:
    """A client of a fresh cluster with so many workers, or of the embedded service if none."""
    shutil.rmtree(root / "data", ignore_errors=True)
    (root / "data").mkdir()
    if not workers:
        with Embedded(root / "data") as embedded:
            embedded.serve()
            with embedded.client() as client:
                yield client
        return
    with Cluster(root / "data") as cluster:
        cluster.run(workers=workers)
        with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
            yield client


def measure(client: httpx.Client, root: Path, url: str, count: int) -> str:
    """The rest of a row of the table."""
    rows = "".join(f"{number},Lamp,{url}/{SIZE}/{number}.jpg\n" for number in range(count))
    catalogue = f"Serial Number,Product Name,Input Image Urls\n{rows}"
    first, full, before = run(client, root, catalogue, count)
    again, sent, after = run(client, root, catalogue, count)
    expect(after.result == before.result, "the result of an unchanged catalogue is another one")
    expect(after.kinds == {"unchanged": count}, f"an unchanged catalogue has changed: {after.kinds}")
    changed = range(0, count, 100)
    was = {root / "pictures" / str(SIZE) / f"{number}.jpg": number for number in changed}
    kept = {path: path.read_bytes() for path in was}
    for path, number in was.items():
        path.write_bytes(photo_jpeg(SIZE, SIZE * 3 // 4, seed=number, quality=90))
    some, _, last = run(client, root, catalogue, count)
    expect(last.changed == {f"{url}/{SIZE}/{number}.jpg" for number in changed}, "others have changed")
    for path, data in kept.items():  # for the next deployment
        path.write_bytes(data)
    return f"{first:.1f} | {again:.1f} | {first / again:.1f} | {sent / full:.2%} | {some:.1f} |"


class Outcome:
    """What a Request hands back."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        self.result = client.get(f"{path}results.csv").raise_for_status().content
        text = client.get(f"{path}results.csv?style=changes").raise_for_status().text
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        found = [row["Change"] for row in rows]
        self.kinds = {kind: found.count(kind) for kind in set(found)}
        self.changed = {row["Input Image Url"] for row in rows if row["Change"] == "changed"}


def run(client: httpx.Client, root: Path, catalogue: str, count: int) -> tuple[float, int, Outcome]:
    """Seconds, bytes that the origin has sent, and what came of it."""
    (root / "sent").write_bytes(b"")
    start = time.monotonic()
    files = {"file": ("lamps.csv", catalogue)}
    path = f"/api/requests/{client.post('/api/requests/', files=files).json()['id']}/"
    wait_for(lambda: client.get(path).json()["finished_at"], "the request finishes", seconds=600)
    elapsed = time.monotonic() - start
    images = client.get(path).json()["images"]
    expect(images["completed"] == count, f"not all completed: {images}")
    return elapsed, sum(map(int, (root / "sent").read_text().split())), Outcome(client, path)


def expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        sys.exit(f"bench: {otherwise}")


if __name__ == "__main__":
    main()
