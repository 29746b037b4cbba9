"""The sample catalogue and its pictures, which are drawn here: a first request needs no shop and no internet.

Workers take the pictures from here instead of fetching them, so they need no way to this server.
"""

import csv
import io
import random
import re
from collections.abc import Callable
from functools import lru_cache

import httpx
from django.conf import settings
from PIL import Image, ImageDraw, ImageFilter

SAMPLE_PICTURES = 12
#: The last picture, which is cut off so that the sample shows a failure too.
BROKEN = SAMPLE_PICTURES
BROKEN_BYTES = 40_000
FILENAME = "sample-catalogue.csv"
COLOURS = ("#c8553d", "#588157", "#386fa4", "#e0a458", "#6d597a", "#2a9d8f")
NOISE = 0.03

Draw = ImageDraw.ImageDraw


def sample_catalogue() -> bytes:
    """Return the sample as CSV: a product for each shape, with two pictures each."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("Serial Number", "Product Name", "Input Image Urls"))
    for number, (name, _shape) in enumerate(SHAPES):
        urls = [f"{_folder()}{picture}.jpg" for picture in (number + 1, number + 1 + len(SHAPES))]
        writer.writerow((f"SA-{number + 1}", name, ", ".join(urls)))
    return text.getvalue().encode()


def sample_number(url: str) -> int | None:
    """Return the number of the sample's picture that has this URL; None for any other URL.

    The URL is given as the sample has it or as httpx requests it.
    """
    folder = _folder()
    if not url.startswith(folder):
        folder = _as_requested(folder)
    if not url.startswith(folder):
        return None
    found = re.fullmatch(r"(\d{1,2})\.jpg", url.removeprefix(folder))
    return int(found[1]) if found and 1 <= int(found[1]) <= SAMPLE_PICTURES else None


@lru_cache(SAMPLE_PICTURES)
def sample_picture(number: int) -> bytes:
    """Return a picture of the sample, numbered from 1, as JPEG."""
    data = drawing(number - 1)
    return data[:BROKEN_BYTES] if number == BROKEN else data


def drawing(number: int) -> bytes:
    """Return a product as a photographer has it, as JPEG: large, in a soft light. The bytes never change."""
    _name, shape = SHAPES[number % len(SHAPES)]
    # The second picture of a product has another colour.
    colour = COLOURS[(number + number // len(SHAPES)) % len(COLOURS)]
    back = Image.linear_gradient("L").resize((1600, 1200))
    scene = Image.merge(
        "RGB", [back.point(lambda light, most=most: most - light // 6) for most in (246, 243, 238)]
    )
    ImageDraw.Draw(scene).ellipse((480, 1000, 1120, 1090), fill="#b9b4ab")
    scene = scene.filter(ImageFilter.GaussianBlur(18))
    shape(ImageDraw.Draw(scene), colour)
    noise = random.Random(number).randbytes(scene.width * scene.height)  # noqa: S311 (no secret)
    grain = Image.frombytes("L", scene.size, noise).convert("RGB")
    file = io.BytesIO()
    Image.blend(scene.filter(ImageFilter.GaussianBlur(1)), grain, NOISE).save(file, "JPEG", quality=93)
    return file.getvalue()


def _folder() -> str:
    return f"{settings.PUBLIC_URL}/sample/"


@lru_cache(1)
def _as_requested(url: str) -> str:
    """Return a URL as httpx requests it: without the port of its scheme, with an ASCII host in lower case."""
    return str(httpx.URL(url))


def _lamp(draw: Draw, colour: str) -> None:
    draw.polygon([(640, 180), (960, 180), (1080, 480), (520, 480)], fill=colour)
    draw.rectangle((785, 480, 815, 1010), fill="#444")
    draw.ellipse((620, 980, 980, 1060), fill="#444")


def _vase(draw: Draw, colour: str) -> None:
    draw.ellipse((560, 420, 1040, 1060), fill=colour)
    draw.rectangle((690, 230, 910, 520), fill=colour)
    draw.ellipse((660, 200, 940, 270), fill="#333")


def _chair(draw: Draw, colour: str) -> None:
    draw.rounded_rectangle((560, 180, 1040, 560), 40, fill=colour)
    draw.rounded_rectangle((520, 620, 1080, 720), 30, fill=colour)
    for x in (540, 1020):
        draw.rectangle((x, 540, x + 40, 1050), fill="#5b4636")


def _table(draw: Draw, colour: str) -> None:
    draw.rounded_rectangle((380, 480, 1220, 560), 20, fill=colour)
    for x in (440, 1110):
        draw.polygon([(x, 560), (x + 50, 560), (x + 35, 1050), (x + 15, 1050)], fill="#5b4636")


def _mirror(draw: Draw, colour: str) -> None:
    draw.ellipse((480, 170, 1120, 1030), fill=colour)
    draw.ellipse((530, 220, 1070, 980), fill="#dfe9ee")


def _bowl(draw: Draw, colour: str) -> None:
    draw.pieslice((420, 180, 1180, 1060), 0, 180, fill=colour)
    draw.ellipse((420, 560, 1180, 680), fill="#3a3a3a")


SHAPES: tuple[tuple[str, Callable[[Draw, str], None]], ...] = (
    ("Floor lamp", _lamp),
    ("Vase", _vase),
    ("Oak chair", _chair),
    ("Side table", _table),
    ("Mirror", _mirror),
    ("Bowl", _bowl),
)
