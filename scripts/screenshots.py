"""Screenshots of every page, in light and dark and as on a phone, of a service that runs for them alone.

Draws the pictures of a small shop and serves them on loopback, so that it needs no internet.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.origin import Answer, Origin
from tests.pictures import encoded
from tests.servers import find_program
from tests.stack import Embedded

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "screenshots"
#: Those in README.md, of the light ones: the first and the last line of pixels.
README = {"preview": (0, 800), "request": (0, 900), "products": (0, 700)}
README_FOLDER = ROOT / "docs" / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, PHONE = ViewportSize(width=1120, height=800), ViewportSize(width=390, height=844)
MAX_UPLOAD = 20_000_000
HEADER = ("Serial Number", "Product Name", "Input Image Urls")
THINGS = ("Floor lamp", "Vase", "Oak chair", "Side table", "Mirror", "Bowl")
COLOURS = ("#c8553d", "#588157", "#386fa4", "#e0a458", "#6d597a", "#2a9d8f")


class Look(NamedTuple):
    """What a screenshot is taken as."""

    name: str
    viewport: ViewportSize
    scheme: str


LOOKS = (Look("light", WIDE, "light"), Look("dark", WIDE, "dark"), Look("phone", PHONE, "light"))


def main() -> int:
    """Take them all; those of README.md go to docs/images as well."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with service() as (site, origin), sync_playwright() as playwright:
        executable = find_program(*CHROMIUM)
        with playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"]) as browser:
            Tour(browser, site, origin).go()
    for name, (top, bottom) in README.items():
        shrink(FOLDER / f"{name}-light.png", README_FOLDER / f"{name}.png", top, bottom)
    print(f"{len(list(FOLDER.glob('*.png')))} screenshots in {FOLDER.relative_to(ROOT)}")
    return 0


@contextmanager
def service() -> Iterator[tuple[Embedded, Origin]]:
    """The service, and a shop that serves its pictures."""
    with TemporaryDirectory() as directory, Origin() as origin:
        limit = {"UPLOAD_MAX_BYTES": str(MAX_UPLOAD)}
        with Embedded(Path(directory), **limit) as site:
            site.serve()
            yield site, origin


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


class Tour:
    """Goes through the pages as a user does, and takes each as it comes."""

    def __init__(self, browser: Browser, site: Embedded, origin: Origin) -> None:
        self.browser, self.site, self.origin = browser, site, origin
        self.page = browser.new_page(viewport=WIDE)

    def go(self) -> None:
        """All pages, in the order of their states."""
        self.take("home-empty", "/")
        self.take("requests-empty", "/requests/")
        self.take("webhooks-empty", "/webhooks/")
        self.previews()
        self.requests()
        self.webhooks()
        self.take("home", "/")
        self.take("requests", "/requests/")
        self.take("requests-none-found", "/requests/?q=nothing")
        self.account()
        self.take("login", "/login/")
        self.errors()

    def take(self, name: str, path: str, **options: bool) -> None:
        """One page in every look."""
        for look in LOOKS:
            with self.browser.new_context(viewport=look.viewport, color_scheme=look.scheme) as context:  # type: ignore[arg-type]
                page = context.new_page()
                page.goto(self.site.url + path)
                self.shoot(page, f"{name}-{look.name}")

    def shoot(self, page: Page, name: str, *, full_page: bool = True) -> None:
        """The page as it is, down to its end if wanted."""
        page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        page.screenshot(path=FOLDER / f"{name}.png", full_page=full_page)

    def upload(self, name: str, data: bytes, button: str) -> str:
        """Upload a file in the form; the path of the page that this leads to."""
        self.page.goto(self.site.url)
        self.page.get_by_label("Catalogue").set_input_files(
            {"name": name, "mimeType": "text/csv", "buffer": data}
        )
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(lambda url: url != f"{self.site.url}/")
        return self.page.url.removeprefix(self.site.url)

    def previews(self) -> None:
        """The step before the start: understood, not understood, and a file that is refused at once."""
        rows = catalogue(self.origin)
        self.take("preview", self.upload("spring-catalogue.csv", make_csv(*rows), "Upload and preview"))
        odd = make_csv(*rows[:5], header=("Artikel", "Bezeichnung", "Fotos"))
        self.take("preview-unknown-columns", self.upload("artikel.csv", odd, "Upload and preview"))
        self.page.goto(self.site.url)
        bad = make_csv((1, "Chair", "nope"), (2, "Table"))
        self.page.get_by_label("Catalogue").set_input_files(
            {"name": "bad.csv", "mimeType": "text/csv", "buffer": bad}
        )
        self.page.get_by_text("Options", exact=True).click()
        self.page.get_by_label("Strict").check()
        self.page.get_by_role("button", name="Upload and start at once").click()
        expect(self.page.locator(".errorlist")).to_be_visible()
        self.shoot(self.page, "home-refused-light")

    def requests(self) -> None:
        """A request at work and when it has finished, with rows behind a failure."""
        slow = self.upload(
            "summer-catalogue.csv", make_csv(*catalogue(self.origin, delay=5)), "Upload and start at once"
        )
        expect(self.page.locator("#bar")).to_be_attached()
        self.take("request-at-work", slow)
        self.page.get_by_role("button", name="Cancel").click()
        path = self.upload(
            "spring-catalogue.csv", make_csv(*catalogue(self.origin)), "Upload and start at once"
        )
        expect(self.page.locator("#progress .status")).to_have_text("Completed with errors", timeout=60_000)
        self.page.reload()
        self.take("request", path)
        self.page.get_by_label("Search").fill("SH-10")
        self.page.get_by_role("button", name="Show").click()
        self.page.locator("#products").evaluate("heading => heading.parentElement.scrollIntoView()")
        self.shoot(self.page, "products-light", full_page=False)
        rows = self.page.get_by_role("link", name="Show rows").first.get_attribute("href")
        self.take("failures", str(rows))
        self.take("request-canceled", slow)

    def webhooks(self) -> None:
        """An endpoint, its secret, and a delivery that failed."""
        hook = self.origin.add("/hook", Answer(b"thank you"))
        self.page.goto(f"{self.site.url}/webhooks/")
        self.page.get_by_label("URL").fill(hook)
        self.page.get_by_label("Description").fill("The shop's importer")
        self.page.get_by_role("button", name="Add").click()
        self.shoot(self.page, "webhook-secret-light")
        self.page.get_by_role("link", name="I have it").click()
        path = self.page.url.removeprefix(self.site.url)
        self.page.get_by_role("button", name="Send a test").click()
        expect(self.page.get_by_text("Delivered").first).to_be_visible(timeout=30_000)
        self.take("webhook", path)
        self.page.locator("#deliveries tbody a").first.click()
        self.take("delivery", self.page.url.removeprefix(self.site.url))
        self.take("webhooks", "/webhooks/")

    def account(self) -> None:
        """With a token that was made just now."""
        self.page.goto(f"{self.site.url}/account/")
        self.page.get_by_label("Name").fill("Nightly import")
        self.page.get_by_role("button", name="Make a token").click()
        self.shoot(self.page, "account-new-token-light")
        self.take("account", "/account/")

    def errors(self) -> None:
        """What goes wrong, each on a page of its own."""
        self.take("404", "/nothing-here/")
        broken = self.site.manage(
            "shell",
            "-v0",
            "-c",
            "from django.template.loader import render_to_string as r; print(r('500.html'))",
        )
        self.page.route(
            "**/broken/", lambda route: route.fulfill(status=500, body=broken, content_type="text/html")
        )
        self.page.goto(f"{self.site.url}/broken/")
        self.shoot(self.page, "500-light")
        with self.browser.new_context(extra_http_headers={"Via": "1.1 proxy"}) as context:
            page = context.new_page()
            page.goto(self.site.url)
            self.shoot(page, "403-light")
        with self.browser.new_context(java_script_enabled=False, viewport=WIDE) as context:
            page = context.new_page()
            page.goto(self.site.url)
            data = b"x" * (MAX_UPLOAD + 5_000_000)
            page.get_by_label("Catalogue").set_input_files(
                {"name": "huge.csv", "mimeType": "text/csv", "buffer": data}
            )
            page.get_by_role("button", name="Upload and preview").click()
            page.screenshot(path=FOLDER / "too-large-light.png")


def shrink(source: Path, target: Path, top: int, bottom: int) -> None:
    """A part of a screenshot as a small file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        part = picture.convert("RGB").crop((0, top, picture.width, min(bottom, picture.height)))
        part.quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
