#!/usr/bin/env python3
"""Measures the pipeline on this machine: images per second and CPU per image, for three sizes of pictures.

    .venv/bin/python scripts/servers.py -- .venv/bin/python scripts/bench.py [--scale FACTOR]

Pictures are drawn (photo-like, JPEG quality 90, each with bytes of its own) and served by nginx as a process
of its own. gunicorn and two worker processes run on PostgreSQL and Redis with local storage. CPU is user and
system time of the worker processes from upload to finish, start-up not counted.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import simplejpeg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.pictures import photo_jpeg
from tests.stack import Cluster, free_port, wait_for

SIZES = {400: 2000, 1000: 800, 2000: 250}
NGINX = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; default_type image/jpeg;
  server {{ listen 127.0.0.1:{port}; root {root}/pictures; }}
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Images per second and CPU per image.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of pictures per size")
    scale = parser.parse_args().scale
    print("| picture | KB | images | images/s | worker CPU ms/image | bare codec CPU ms/image | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size, count in SIZES.items():
        measure(size, round(count * scale))


def measure(size: int, count: int) -> None:
    """Print a row of the table."""
    with tempfile.TemporaryDirectory() as directory, nginx(Path(directory)) as url:
        pictures = Path(directory, "pictures")
        draw(pictures, size, count)
        codec = bare_codec(pictures)
        rate, cpu = pipeline(Path(directory), url, count)
        kilobytes = sum(path.stat().st_size for path in pictures.iterdir()) / count / 1000
    print(
        f"| {size} px | {kilobytes:.0f} | {count} | {rate:.0f} | {cpu * 1000:.1f} "
        f"| {codec * 1000:.1f} | {codec / cpu:.2f} |",
        flush=True,
    )


@contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serves `root/pictures`; gives its URL."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("bench: nginx is not installed; on Debian: apt-get install nginx-light")
    port = free_port()
    (root / "pictures").mkdir()
    root.chmod(0o755)
    configuration = root / "nginx.conf"
    configuration.write_text(NGINX.format(root=root, port=port))
    process = subprocess.Popen([program, "-p", root, "-c", configuration])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def draw(directory: Path, size: int, count: int) -> None:
    for number in range(count):
        data = photo_jpeg(size, size * 3 // 4, seed=number, quality=90)
        (directory / f"{number}.jpg").write_bytes(data)


def bare_codec(directory: Path, most: int = 100) -> float:
    """CPU seconds per picture of decoding and encoding alone, with nothing around it."""
    pictures = [path.read_bytes() for path in sorted(directory.iterdir())[:most]]
    before = time.process_time()
    for data in pictures:
        simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(data), quality=50, colorsubsampling="420")
    return (time.process_time() - before) / len(pictures)


def pipeline(directory: Path, url: str, count: int) -> tuple[float, float]:
    """Images per second from upload to finish, and CPU seconds per image of both workers together."""
    rows = "".join(f"{number},Lamp,{url}/{number}.jpg\n" for number in range(count))
    catalogue = f"Serial Number,Product Name,Input Image Urls\n{rows}"
    data_dir = directory / "data"
    data_dir.mkdir()
    with Cluster(data_dir) as cluster:
        cluster.web()
        workers = cluster.workers(2)
        with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
            before, start = sum(map(cpu_seconds, workers)), time.monotonic()
            batch = client.post("/api/requests/", files={"file": ("lamps.csv", catalogue)}).json()
            path = f"/api/requests/{batch['id']}/"
            wait_for(lambda: client.get(path).json()["finished_at"], "the request finishes", seconds=600)
            elapsed = time.monotonic() - start
            used = sum(map(cpu_seconds, workers)) - before
            state = client.get(path).json()
    if state["images"]["completed"] != count:
        sys.exit(f"bench: {state['images']} of {count} images")
    return count / elapsed, used / count


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """User and system time of a process and its children, as Linux counts them."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[2]) == process.pid:  # the process group, which each of ours has for itself
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
