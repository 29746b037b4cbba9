"""Origins of pictures: nginx with photo-like JPEGs, and a slow server."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path

from tests.support.pictures import photo_jpeg
from tests.support.servers import find_program
from tests.support.stack import free_port, wait_for

NGINX = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/nginx.log;
events {{ worker_connections 512; }}
http {{
  sendfile on; keepalive_requests 1000000; default_type image/jpeg; log_format bytes $bytes_sent;
  server {{ {directives} listen 127.0.0.1:{port}; root {root}/pictures; }}
}}
"""


def draw(root: Path, counts: dict[int, int]) -> None:
    """Draw so many pictures for each width: 4:3, quality 90, seeded, each with bytes of its own."""
    with ProcessPoolExecutor() as processes:
        for width, count in counts.items():
            folder = root / "pictures" / str(width)
            folder.mkdir(parents=True)
            list(processes.map(_draw, repeat(folder), repeat(width), range(count), chunksize=8))


def _draw(folder: Path, width: int, number: int) -> None:
    data = photo_jpeg(width, width * 3 // 4, seed=width * 1_000_000 + number, quality=90)
    (folder / f"{number}.jpg").write_bytes(data)


@contextmanager
def nginx(root: Path, directives: str = "access_log off;") -> Iterator[str]:
    """Serves `root/pictures` from a process of its own, its server with these directives; gives its URL."""
    program = find_program("nginx")
    if program is None:
        sys.exit("bench: nginx is not installed; on Debian: apt-get install nginx-light")
    port = free_port()
    root.chmod(0o755)
    configuration = root / "nginx.conf"
    configuration.write_text(NGINX.format(root=root, port=port, directives=directives))
    process = subprocess.Popen([program, "-p", root, "-c", configuration])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def slow(folder: Path, milliseconds: int) -> Iterator[str]:
    """Serves the files of `folder`, each after so long, from a process of its own; gives its URL."""
    port = free_port()
    with apart(__name__, folder, port, milliseconds):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def apart(module: str, *arguments: object) -> Iterator[None]:
    """Runs a module as a process of its own, from the line by which it says that it listens."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        wait_for(lambda: process.stdout and process.stdout.readline(), f"{module} listens")
        yield
    finally:
        process.terminate()
        process.wait()


async def _serve(folder: Path, port: int, milliseconds: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has hung up
            await answer(reader, writer)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            name = head.split(b" ", 2)[1].partition(b"?")[0].decode()
            await asyncio.sleep(milliseconds / 1000)
            body = (folder / name.lstrip("/")).read_bytes()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
