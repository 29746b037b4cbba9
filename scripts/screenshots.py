"""Screenshots of every page in four looks, of a service that runs for them alone.

A small shop's pictures are served on loopback, so that it needs no internet.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import openpyxl
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.shop import HEADER, catalogue, make_csv
from tests.support.origin import Answer, Origin
from tests.support.servers import find_program
from tests.support.stack import Embedded, wait_for

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "screenshots"
#: Those in README.md, of the light ones: the first and the last line of pixels.
README = {"preview": (0, 850), "request": (0, 720), "pictures": (0, 760), "picture": (0, 760)}
README_FOLDER = ROOT / "docs" / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, WIDER = ViewportSize(width=1120, height=800), ViewportSize(width=1440, height=900)
PHONE = ViewportSize(width=390, height=844)
MAX_UPLOAD = 20_000_000
#: All that are shown, also below the window; what is folded away is not asked for.
LOAD_IMAGES = """Promise.all([...document.querySelectorAll("img:not(details:not([open]) img)")].map(image => {
    image.loading = "eager";
    return image.decode();
}))"""
MAKE_STAFF = """
from django.contrib.auth.models import User
User.objects.create_superuser("staff", password={password!r})
"""
#: Of the admin, as app/model.
LISTS = (
    *("products/request", "products/product", "products/image", "accounts/apitoken"),
    *("processing/worker", "processing/pausedhost", "webhooks/webhookendpoint"),
    *("webhooks/webhookdelivery", "auth/user"),
)


class Look(NamedTuple):
    """A theme and size of screenshots."""

    name: str
    viewport: ViewportSize
    scheme: Literal["light", "dark"]


LOOKS = (
    Look("light", WIDE, "light"),
    Look("dark", WIDE, "dark"),
    Look("phone", PHONE, "light"),
    Look("wider", WIDER, "light"),
)


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


class Tour:
    """Goes through the pages as a user does, then as staff do, and takes each as it comes."""

    def __init__(self, browser: Browser, site: Embedded, origin: Origin) -> None:
        self.site, self.origin = site, origin
        context = browser.new_context(viewport=WIDE)
        self.page, self.camera = context.new_page(), context.new_page()

    def go(self) -> None:
        """All pages, in the order of their states."""
        self.take("home-empty", "/")
        self.take("requests-empty", "/requests/")
        self.take("webhooks-empty", "/webhooks/")
        self.take("profiles-empty", "/profiles/")
        self.take("feeds-empty", "/feeds/")
        self.previews()
        self.requests()
        self.webhooks()
        self.profiles()
        self.feeds()
        self.take("home", "/")
        self.take("requests", "/requests/")
        self.page.goto(f"{self.site.url}/requests/")
        self.page.get_by_label("Select all").check()
        self.page.get_by_role("button", name="Delete…").click()
        self.shoot(self.page, "requests-delete")
        self.take("requests-none-found", "/requests/?q=nothing")
        self.take("api", "/api/docs/")
        self.take("api-requests", "/api/docs/requests/")
        self.tokens()
        self.take("login", "/login/")
        self.errors()
        self.log_in()
        self.take("account", "/account/")
        self.take("password", "/account/password/")
        self.admin()

    def take(self, name: str, path: str) -> None:
        """The page at this path."""
        self.camera.goto(self.site.url + path)
        self.shoot(self.camera, name)

    def shoot(self, page: Page, name: str) -> None:
        """The page as it is, down to its end, in every look."""
        page.evaluate(LOAD_IMAGES)
        for look in (*LOOKS[1:], LOOKS[0]):  # the first is how the page goes on
            page.set_viewport_size(look.viewport)
            page.emulate_media(color_scheme=look.scheme)
            page.screenshot(path=FOLDER / f"{name}-{look.name}.png", full_page=True, animations="disabled")

    def choose(self, name: str, data: bytes) -> None:
        """Open the form and choose a file."""
        self.page.goto(self.site.url)
        file = {"name": name, "mimeType": "text/csv", "buffer": data}
        self.page.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]

    def upload(self, name: str, data: bytes, button: str) -> str:
        """Upload a file in the form; the path of the page that this leads to."""
        self.choose(name, data)
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(lambda url: url != f"{self.site.url}/")
        return self.path

    @property
    def path(self) -> str:
        """Return the path of the current page."""
        return self.page.url.removeprefix(self.site.url)

    def previews(self) -> None:
        """The step before the start: understood, not understood, and a file that is refused at once."""
        rows = catalogue(self.origin)
        self.take("preview", self.upload("spring-catalogue.csv", make_csv(*rows), "Upload and preview"))
        self.page.get_by_role("button", name="Try some pictures").click()
        expect(self.page.get_by_role("heading", name="Trial")).to_be_visible(timeout=60_000)
        self.shoot(self.page, "trial")
        files = [(number, name, f"spring/{number}.jpg") for number, name, *_others in rows[:5]]
        odd = make_csv(*files, header=("Position", "Label", "File"))
        self.take("preview-unknown-columns", self.upload("articles.csv", odd, "Upload and preview"))
        self.take("preview-workbook", self.upload("shop.xlsx", workbook(rows), "Upload and preview"))
        self.choose("bad.csv", make_csv((1, "Chair", "nope"), (2, "Table")))
        self.page.get_by_text("More options").click()
        self.page.get_by_label("Strict").check()
        self.page.get_by_role("button", name="Upload and start").click()
        expect(self.page.locator(".errorlist")).to_be_visible()
        self.shoot(self.page, "home-refused")

    def requests(self) -> None:
        """A request at work and when it has finished, with rows behind a failure."""
        slow = self.upload(
            "summer-catalogue.csv", make_csv(*catalogue(self.origin, delay=25)), "Upload and start"
        )
        expect(self.page.locator("#bar")).to_be_attached()
        self.take("request-at-work", slow)
        self.page.get_by_text("Actions", exact=True).click()
        self.page.get_by_text("Cancel this request").click()
        expect(self.page.get_by_role("button", name="Yes, cancel it")).to_be_visible()
        self.shoot(self.page, "request-cancel")
        self.page.get_by_role("button", name="Yes, cancel it").click()
        path = self.upload("spring-catalogue.csv", make_csv(*catalogue(self.origin)), "Upload and start")
        expect(self.page.locator("#progress .status")).to_have_text("Completed with errors", timeout=60_000)
        self.take("request", path)
        self.camera.get_by_text("Download", exact=True).click()
        self.shoot(self.camera, "request-downloads")
        for tab in ("pictures", "products", "failures", "changes", "runs", "deliveries", "details", "repeat"):
            self.take(tab, f"{path}{tab}/")
        self.take("pictures-none-found", f"{path}pictures/?q=nothing")
        self.camera.goto(f"{self.site.url}{path}pictures/?status=completed")
        self.camera.locator(".tile").first.click()
        self.shoot(self.camera, "picture")
        self.camera.goto(f"{self.site.url}{path}pictures/?status=failed")
        self.camera.locator(".tile").first.click()
        self.shoot(self.camera, "picture-failed")
        self.camera.goto(f"{self.site.url}{path}products/")
        self.camera.get_by_text("Compare", exact=True).first.click()
        self.shoot(self.camera, "comparison")
        self.camera.goto(f"{self.site.url}{path}failures/")
        rows = self.camera.get_by_role("link", name="Show rows").first.get_attribute("href")
        self.take("rows-of-a-failure", str(rows))
        self.take("repair", str(rows).replace("/products/?", "/failures/?").replace("#products", ""))
        self.take("request-canceled", slow)
        self.take("request-profile", f"{path}profile/")
        self.page.goto(f"{self.site.url}{path}")
        self.page.get_by_text("Actions", exact=True).click()
        self.page.get_by_role("button", name="Create share link").click()
        self.shoot(self.page, "request-shared")
        link = self.page.locator(".copies a").first.get_attribute("href")
        self.take("shared", str(link).removeprefix(self.site.url))

    def webhooks(self) -> None:
        """An endpoint, its secret, and a delivery."""
        hook = self.origin.add("/hook", Answer(b"thank you"))
        self.page.goto(f"{self.site.url}/webhooks/")
        self.page.get_by_label("URL").fill(hook)
        self.page.get_by_label("Description").fill("The shop's importer")
        self.page.get_by_role("button", name="Add endpoint").click()
        self.shoot(self.page, "webhook-secret")
        self.page.get_by_role("link", name="Continue to the endpoint").click()
        path = self.path
        self.page.get_by_role("button", name="Send test event").click()
        expect(self.page.get_by_text("Delivered").first).to_be_visible(timeout=30_000)
        self.take("webhook", path)
        self.page.locator("#deliveries tbody a").first.click()
        self.take("delivery", self.path)
        self.take("webhooks", "/webhooks/")

    def profiles(self) -> None:
        """A copy of a ready-made one, and one of its renditions that is wrong."""
        self.page.goto(f"{self.site.url}/profiles/")
        self.page.get_by_role("button", name="Copy Web thumbnails").click()
        self.take("profile", self.path)
        self.page.get_by_role("button", name="Add a rendition").click()
        self.page.keyboard.type("For the zoom")
        self.page.get_by_role("button", name="Save").click()
        self.shoot(self.page, "profile-refused")
        self.take("profiles", "/profiles/")

    def feeds(self) -> None:
        """A feed whose file changes a little, and then loses most of its rows."""
        rows = catalogue(self.origin)
        url = self.origin.add("/export.csv", make_csv(*rows))
        self.page.goto(f"{self.site.url}/feeds/")
        self.page.get_by_label("Name").fill("Shop export")
        self.page.get_by_label("URL", exact=True).fill(url)
        self.page.get_by_role("button", name="Add and fetch now").click()
        path = self.path
        self.wait_for_run("Completed with errors")
        self.origin.add("/export.csv", make_csv(*(row for row in rows[2:] if row[0] != rows[9][0]), rows[0]))
        self.page.get_by_role("button", name="Run now").click()
        self.wait_for_run("Completed with errors")
        self.take("feed", path)
        self.take("feed-changes", f"{path}changes/")
        self.origin.add("/export.csv", make_csv(*rows[:3]))
        self.page.get_by_role("button", name="Run now").click()
        self.wait_for_run("Held")
        self.take("feed-held", path)
        self.take("feeds", "/feeds/")

    def wait_for_run(self, status: str) -> None:
        """Reload the page of a feed until its last run has this status."""

        def has_status() -> bool:
            self.page.reload()
            return self.page.locator(".facts .status").first.inner_text() == status

        wait_for(has_status, f"the run of the feed is {status}", 60)

    def tokens(self) -> None:
        """A token that was made just now."""
        self.page.goto(f"{self.site.url}/account/")
        self.page.get_by_label("Name").fill("Nightly import")
        self.page.get_by_role("button", name="Create token").click()
        self.shoot(self.page, "account-new-token")

    def errors(self) -> None:
        """Take the pages of errors."""
        self.take("404", "/nothing-here/")
        render = "from django.template.loader import render_to_string as r; print(r('500.html'))"
        broken = self.site.manage("shell", "-v0", "-c", render)
        self.camera.route(
            "**/broken/", lambda route: route.fulfill(status=500, body=broken, content_type="text/html")
        )
        self.take("500", "/broken/")
        self.camera.set_extra_http_headers({"Via": "1.1 proxy"})
        self.take("403", "/")
        self.camera.set_extra_http_headers({})
        self.choose("huge.csv", b"x" * (MAX_UPLOAD + 5_000_000))
        self.page.locator("#upload").evaluate("form => form.submit()")  # past the scripts, which refuse it
        expect(self.page.get_by_role("heading", level=1)).to_have_text("File too large")
        self.shoot(self.page, "too-large")

    def log_in(self) -> None:
        """Be a superuser from now on."""
        password = token_hex(8)
        self.site.manage("shell", "-v0", "-c", MAKE_STAFF.format(password=password))
        self.page.goto(f"{self.site.url}/login/")
        self.page.get_by_label("Username").fill("staff")
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def admin(self) -> None:
        """Every list with the page of its first row, what an action asks, and a token."""
        self.take("admin", "/admin/")
        for name in LISTS:
            path = f"/admin/{name}/"
            self.take(f"admin-{name.partition('/')[2]}s", path)
            self.page.goto(self.site.url + path)
            row = self.page.locator("#result_list tbody th a").first
            if row.is_visible():
                row.click()
                self.take(f"admin-{name.partition('/')[2]}", self.path)
        self.page.goto(f"{self.site.url}/admin/webhooks/webhookendpoint/")
        self.page.locator("#result_list tbody th a").first.click()
        self.page.get_by_role("button", name="Disable").click()
        self.shoot(self.page, "admin-question")
        self.page.get_by_role("button", name="Yes").click()
        self.page.get_by_role("link", name="History").click()
        self.shoot(self.page, "admin-history")
        self.page.goto(f"{self.site.url}/admin/accounts/apitoken/add/")
        self.shoot(self.page, "admin-apitoken-add")
        self.page.get_by_label("User").select_option(label="staff")
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.shoot(self.page, "admin-apitoken-new")


def workbook(rows: list[tuple[object, ...]]) -> bytes:
    """Return a workbook with these products on its second sheet."""
    book = openpyxl.Workbook()
    book.worksheets[0].title = "Read me"
    book.worksheets[0].append(["Prices without tax"])
    for name in ("Spring", "Summer"):
        sheet = book.create_sheet(name)
        for row in (HEADER, *rows):
            sheet.append(list(row))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def shrink(source: Path, target: Path, top: int, bottom: int) -> None:
    """A part of a screenshot as a small file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        part = picture.convert("RGB").crop((0, top, picture.width, min(bottom, picture.height)))
        part.quantize(256, kmeans=4).save(target, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
