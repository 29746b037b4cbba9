"""A small shop to be photographed: its pictures, drawn, and its catalogue."""

import csv
import io
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from tests.support.origin import Answer, Origin
from tests.support.pictures import encoded

HEADER = ("Serial Number", "Product Name", "Input Image Urls")
THINGS = ("Floor lamp", "Vase", "Oak chair", "Side table", "Mirror", "Bowl")
COLOURS = ("#c8553d", "#588157", "#386fa4", "#e0a458", "#6d597a", "#2a9d8f")


def make_csv(*rows: tuple[object, ...], header: tuple[str, ...] = HEADER) -> bytes:
    """A catalogue with these rows."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def drawing(number: int) -> bytes:
    """A thing of the shop, as a photographer has it: large, in a soft light."""
    colour, back = COLOURS[number % len(COLOURS)], Image.linear_gradient("L").resize((1600, 1200))
    picture = Image.merge(
        "RGB", [back.point(lambda light, most=most: most - light // 6) for most in (246, 243, 238)]
    )
    draw = ImageDraw.Draw(picture)
    draw.ellipse((480, 1000, 1120, 1090), fill="#b9b4ab")
    picture = picture.filter(ImageFilter.GaussianBlur(18))
    SHAPES[number % len(SHAPES)](ImageDraw.Draw(picture), colour)
    grain = Image.effect_noise(picture.size, 40).convert("RGB")
    return encoded(Image.blend(picture.filter(ImageFilter.GaussianBlur(1)), grain, 0.06), "JPEG", quality=93)


def _lamp(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.polygon([(640, 180), (960, 180), (1080, 480), (520, 480)], fill=colour)
    draw.rectangle((785, 480, 815, 1010), fill="#444")
    draw.ellipse((620, 980, 980, 1060), fill="#444")


def _vase(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((560, 420, 1040, 1060), fill=colour)
    draw.rectangle((690, 230, 910, 520), fill=colour)
    draw.ellipse((660, 200, 940, 270), fill="#333")


def _chair(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rounded_rectangle((560, 180, 1040, 560), 40, fill=colour)
    draw.rounded_rectangle((520, 620, 1080, 720), 30, fill=colour)
    for x in (540, 1020):
        draw.rectangle((x, 540, x + 40, 1050), fill="#5b4636")


def _table(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rounded_rectangle((380, 480, 1220, 560), 20, fill=colour)
    for x in (440, 1110):
        draw.polygon([(x, 560), (x + 50, 560), (x + 35, 1050), (x + 15, 1050)], fill="#5b4636")


def _mirror(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((480, 170, 1120, 1030), fill=colour)
    draw.ellipse((530, 220, 1070, 980), fill="#dfe9ee")


def _bowl(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.pieslice((420, 180, 1180, 1060), 0, 180, fill=colour)
    draw.ellipse((420, 560, 1180, 680), fill="#3a3a3a")


SHAPES: tuple[Callable[[ImageDraw.ImageDraw, str], None], ...] = (
    _lamp,
    _vase,
    _chair,
    _table,
    _mirror,
    _bowl,
)


def catalogue(origin: Origin, *, delay: float = 0) -> list[tuple[object, ...]]:
    """Rows with two pictures each, of which some are not there or not what they should be."""
    folder = "slow" if delay else "pictures"
    origin.add(f"/{folder}/moved.jpg", b"<!doctype html><title>We have moved</title>")
    origin.add(f"/{folder}/broken.jpg", drawing(0)[:60_000])
    rows: list[tuple[object, ...]] = []
    for number in range(24):
        urls = [
            origin.add(f"/{folder}/{number}-{side}.jpg", Answer(drawing(number + side), delay=delay))
            for side in (0, 1)
        ]
        rows.append((f"SH-{1001 + number}", f"{THINGS[number % 6]} {'ABCD'[number // 6]}", ", ".join(urls)))
    for number, name in enumerate(("moved", "gone", "broken", "lost")):
        rows.append((f"SH-{1101 + number}", f"Stool {number + 1}", origin.url(f"/{folder}/{name}.jpg")))
    rows.insert(2, ("SH-1000", "Coat rack", "rack.jpg"))
    return rows
