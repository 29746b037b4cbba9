"""The main job in one go: a sample catalogue, an origin that serves its pictures, and `manage.py extract`.

Draws its pictures itself and serves them on loopback, so that it needs neither services nor the internet.
"""

import csv
import fcntl
import io
import os
import random
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = ROOT / "var"
DEMO_DIR = DATA_DIR / "demo"
PRODUCTS = 20


def main() -> int:
    """Run the demo; 0 if every result is as it should be."""
    DEMO_DIR.mkdir(parents=True, exist_ok=True)
    catalogue, result = DEMO_DIR / "catalogue.csv", DEMO_DIR / "result.csv"
    print("Drawing sample pictures …")
    origin = Origin(sample_pictures())
    write_catalogue(catalogue, origin)
    # A service that is running has the usual folder for itself, and does not fetch from loopback.
    data_dir = DATA_DIR if is_free(DATA_DIR) else DEMO_DIR / "data"
    # Nothing of the caller's own, which might lead to a cluster.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM") if name in os.environ}
    environment = kept | {"DATA_DIR": str(data_dir), "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8"}
    print(f"\n$ python manage.py extract {shown(catalogue)} -o {shown(result)}\n", flush=True)
    extract: list[str | Path] = [sys.executable, ROOT / "manage.py", "extract", catalogue, "-o", result]
    status = subprocess.run(extract, env=environment, check=False).returncode
    if status != 1:
        print(
            f"extract ended with status {status}, but 1 was to be expected: some pictures are bad on purpose."
        )
        return 1
    return check(result, data_dir, origin)


def sample_pictures() -> dict[str, tuple[str, bytes]]:
    """Path → content type and body, as an origin would serve them."""
    pictures: dict[str, tuple[str, bytes]] = {}
    for number in range(2 * PRODUCTS):
        # A comma in the address, as image services have it.
        pictures[f"/w_1200,q_90/photo-{number}.jpg"] = (
            "image/jpeg",
            encoded(photo(number), "JPEG", quality=90),
        )
    badge = photo(99).convert("RGBA")
    badge.putalpha(Image.radial_gradient("L").resize(badge.size))
    pictures["/badge.png"] = ("image/png", encoded(badge, "PNG"))
    broken = encoded(photo(100), "JPEG", quality=90)
    pictures["/broken.jpg"] = ("image/jpeg", broken[: len(broken) // 3])
    pictures["/moved.jpg"] = ("text/html", b"<!doctype html><title>We have moved</title>")
    return pictures


def photo(seed: int) -> Image.Image:
    """Something with the gradients, edges and grain of a photograph."""
    chance = random.Random(seed)  # noqa: S311 (a drawing, no secret)
    picture = Image.linear_gradient("L").resize((1200, 900)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y, size = chance.randrange(1200), chance.randrange(900), chance.randrange(30, 300)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.ellipse((x, y, x + size, y + size), fill=colour)
    grain = Image.effect_noise(picture.size, 60).convert("RGB")
    return Image.blend(picture.filter(ImageFilter.GaussianBlur(2)), grain, 0.15)


def encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    """The picture as a file of this kind."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


class Origin(ThreadingHTTPServer):
    """A shop's picture server on loopback."""

    daemon_threads = True

    def __init__(self, pictures: dict[str, tuple[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pictures = pictures
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Answers what there is, and 404 to the rest."""

    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        kind, body = self.server.pictures.get(self.path, ("text/plain", b""))
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def write_catalogue(path: Path, origin: Origin) -> None:
    """Twenty products of two pictures each, and five with something special about them."""
    photos = [f"{origin.url}/w_1200,q_90/photo-{number}.jpg" for number in range(2 * PRODUCTS)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Serial Number", "Product Name", "Input Image Urls"])
        for number in range(PRODUCTS):
            urls = ", ".join(photos[2 * number : 2 * number + 2])
            writer.writerow([number + 1, f"Lamp “Model {number + 1}”", urls])
        writer.writerow([PRODUCTS + 1, "Shows a picture of another", photos[0]])
        writer.writerow([PRODUCTS + 2, "Transparent badge", f"{origin.url}/badge.png"])
        writer.writerow([PRODUCTS + 3, "Half a file", f"{photos[1]}, {origin.url}/broken.jpg"])
        writer.writerow([PRODUCTS + 4, "No such picture", f"{origin.url}/missing.jpg"])
        writer.writerow([PRODUCTS + 5, "A web page instead", f"{origin.url}/moved.jpg"])


def check(result: Path, data_dir: Path, origin: Origin) -> int:
    """Open every picture that the result names, with Pillow, and compare it with its source."""
    with result.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    before = after = pictures = 0
    for row in rows:
        sources, outputs = (row[name].split(", ") for name in ("Input Image Urls", "Output Image Urls"))
        for source, output in zip(sources, outputs, strict=bool(outputs[0])):
            if output:
                path = data_dir / urlsplit(output).path.lstrip("/")
                Image.open(path).load()
                before += len(origin.pictures[urlsplit(source).path][1])
                after += path.stat().st_size
                pictures += 1
    failed = [row for row in rows if row["Error"]]
    complete = len(rows) == PRODUCTS + 5 and pictures == 2 * PRODUCTS + 3 and len(failed) == 3
    print(f"\n{pictures} output URLs in {len(rows)} rows, each of a picture that opens;")
    print(f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after. Rows with a failure: {len(failed)}.")
    print(f"\nThe result:   {shown(result)}\nThe pictures: {shown(data_dir / 'media' / 'images')}")
    serve = "make run" if data_dir == DATA_DIR else f"DATA_DIR={shown(data_dir)} make run"
    print(f"To open the URLs in it, and to upload a catalogue of your own: {serve}")
    return 0 if complete and after < before else 1


def is_free(data_dir: Path) -> bool:
    """Return True if no service is running in this folder."""
    with (data_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def shown(path: Path) -> Path:
    """The path as seen from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
