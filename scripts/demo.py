"""The main job in one go: a sample catalogue, an origin that serves its pictures, and `manage.py extract`.

Draws its pictures itself and serves them on loopback, so that it needs neither services nor the internet.
All its files are in `demo/`, and those of an earlier demo are replaced.
"""

import csv
import fcntl
import io
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
DEMO_DIR = ROOT / "demo"
PICTURES_DIR, DATA_DIR = DEMO_DIR / "pictures", DEMO_DIR / "data"
PRODUCTS = 20


def main() -> int:
    """Run the demo; 0 if every result is as it should be."""
    if not is_free(DATA_DIR):
        print(
            f"A service is running in {shown(DATA_DIR)}. Stop it, then run the demo again.", file=sys.stderr
        )
        return 1
    for folder in (PICTURES_DIR, DATA_DIR):
        shutil.rmtree(folder, ignore_errors=True)
    catalogue, result = DEMO_DIR / "catalogue.csv", DEMO_DIR / "result.csv"
    print("Drawing sample pictures …")
    draw_pictures()
    origin = serve_pictures()
    write_catalogue(catalogue, f"http://127.0.0.1:{origin.server_port}")
    # Nothing of the caller's own, which might lead to a cluster.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM") if name in os.environ}
    environment = kept | {"DATA_DIR": str(DATA_DIR), "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8"}
    print(f"\n$ .venv/bin/python manage.py extract {shown(catalogue)} -o {shown(result)}\n", flush=True)
    extract: list[str | Path] = [
        *(sys.executable, ROOT / "manage.py", "extract"),
        *(shown(catalogue), "-o", shown(result)),
    ]
    status = subprocess.run(extract, env=environment, check=False).returncode
    if status != 1:
        print(
            f"extract ended with status {status}, but 1 was to be expected: some pictures are bad on purpose."
        )
        return 1
    return check(result)


def draw_pictures() -> None:
    """Fill PICTURES_DIR with photographs and three files that have something special about them."""
    for number in range(1, 2 * PRODUCTS + 1):
        save(picture_path(number), encoded(photo(number), "JPEG", quality=90))
    badge = photo(99).convert("RGBA")
    badge.putalpha(Image.radial_gradient("L").resize(badge.size))
    save("badge.png", encoded(badge, "PNG"))
    broken = encoded(photo(100), "JPEG", quality=90)
    save("broken.jpg", broken[: len(broken) // 3])
    save("moved.jpg", b"<!doctype html><title>We have moved</title>")


def picture_path(number: int) -> str:
    """The path of a photograph; every second product picture has a comma in it, as image services have."""
    return f"lamp-{number}.jpg" if number <= PRODUCTS else f"w_1200,q_90/lamp-{number}.jpg"


def save(path: str, data: bytes) -> None:
    file = PICTURES_DIR / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


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


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of a folder."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def serve_pictures() -> ThreadingHTTPServer:
    """Serve PICTURES_DIR on loopback until this process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(PICTURES_DIR)))
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def write_catalogue(path: Path, origin: str) -> None:
    """Twenty products of two pictures each, and five with something special about them."""
    photos = [f"{origin}/{picture_path(number)}" for number in range(1, 2 * PRODUCTS + 1)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Serial Number", "Product Name", "Input Image Urls"])
        for number in range(PRODUCTS):
            urls = f"{photos[number]}, {photos[number + PRODUCTS]}"
            writer.writerow([number + 1, f"Lamp “Model {number + 1}”", urls])
        writer.writerow([PRODUCTS + 1, "Shows a picture of another", photos[0]])
        writer.writerow([PRODUCTS + 2, "Transparent badge", f"{origin}/badge.png"])
        writer.writerow([PRODUCTS + 3, "Half a file", f"{photos[1]}, {origin}/broken.jpg"])
        writer.writerow([PRODUCTS + 4, "No such picture", f"{origin}/missing.jpg"])
        writer.writerow([PRODUCTS + 5, "A web page instead", f"{origin}/moved.jpg"])


def check(result: Path) -> int:
    """Open every picture that the result names, with Pillow, and compare it with its source."""
    with result.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    made: dict[str, Path] = {}  # by URL: a picture that several rows show was made once
    places = 0
    for row in rows:
        sources, outputs = (row[name].split(", ") for name in ("Input Image Urls", "Output Image Urls"))
        for source, output in zip(sources, outputs, strict=bool(outputs[0])):
            if output:
                made[source] = DATA_DIR / urlsplit(output).path.lstrip("/")
                places += 1
    for path in made.values():
        Image.open(path).load()
    before = sum((PICTURES_DIR / urlsplit(source).path.lstrip("/")).stat().st_size for source in made)
    after = sum(path.stat().st_size for path in made.values())
    failed = [row for row in rows if row["Error"]]
    complete = len(rows) == PRODUCTS + 5 and places == 2 * PRODUCTS + 3 and len(failed) == 3
    print(f"\n{len(made)} pictures, each of which opens, at {places} places in {len(rows)} rows:")
    print(f"{before:,} bytes before, {after:,} bytes after. Rows with a failure: {len(failed)}.")
    print(f"\nThe result:   {shown(result)}\nThe pictures: {shown(DATA_DIR / 'media' / 'images')}")
    print(f"To open the URLs in it: DATA_DIR={shown(DATA_DIR)} make run")
    print("To upload a catalogue of your own: make run")
    return 0 if complete and len(made) == 2 * PRODUCTS + 1 and after < before else 1


def is_free(data_dir: Path) -> bool:
    """Return True if no service is running in this folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
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
