"""Bytes that a browser loads for a page at its first visit, from the service as `make run` starts it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.factories import JPEG, make_csv
from tests.support.origin import Origin
from tests.support.stack import Embedded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_BYTES = 60_000  # without pictures
ROWS, PICTURES = 120, 3
TABS = ("pictures/", "products/", "failures/", "changes/", "runs/", "deliveries/", "repeat/", "details/")
PAGES = (
    *(
        "/requests/",
        "/feeds/",
        "/profiles/",
        "/webhooks/",
        "/account/",
        "/account/password/",
        "/login/?next=/",
    ),
    *("/api/docs/", "/api/docs/requests/", "/api/docs/feeds/", "/api/docs/webhooks/", "/nothing-here/"),
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    with Embedded(tmp_path) as service:
        service.serve()
        yield service.url


def weigh(browser: "Browser", url: str) -> dict[str, int]:
    """Return the bytes of each file that a page loads, as they come over the network."""
    with browser.new_context() as context:
        page = context.new_page()
        network = context.new_cdp_session(page)
        network.send("Network.enable")
        files: dict[str, str] = {}
        sizes: dict[str, int] = {}
        network.on(
            "Network.responseReceived",
            lambda event: (
                files.update({event["requestId"]: event["response"]["url"]})
                if event["type"] != "Image"
                else None
            ),
        )
        network.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: round(event["encodedDataLength"])}),
        )
        page.goto(url, wait_until="load")
        page.wait_for_function("document.readyState === 'complete'")
        return {file: sizes[key] for key, file in files.items() if key in sizes}


def upload(page: "Page", site: str, button: str, data: bytes) -> str:
    page.goto(site)
    file = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": data}
    page.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name=button).click()
    page.wait_for_url(lambda url: url != f"{site}/")
    return page.url


def test_no_page_weighs_more_than_100_kb(chromium: "Browser", page: "Page", site: str) -> None:
    """A request is heaviest at work, when its pages poll, and with most of its pictures done."""
    with Origin() as origin:
        urls = [
            [
                origin.add(f"/shop/pictures/of-a-long-name/{row}-{place}.jpg", JPEG)
                for place in range(PICTURES)
            ]
            for row in range(ROWS)
        ]
        rows = [
            (f"SKU-{row:06}", f"An oak chair with arms, {row}", " ".join(own)) for row, own in enumerate(urls)
        ]
        upload(page, site, "Upload and preview", make_csv(*rows))
        draft = page.url
        # Nothing listens at the last one, which is tried again for about a minute.
        request = upload(
            page, site, "Upload and start", make_csv(*rows, (1, "Table", "http://127.0.0.1:9/a.jpg"))
        )
        done = page.get_by_label(f"{ROWS * PICTURES} of {ROWS * PICTURES + 1} pictures done")
        expect(done).to_be_attached()
        weights = {
            url: weigh(chromium, url)
            for url in (
                *(request, *(request + tab for tab in TABS)),
                *(f"{site}/", draft, *(site + path for path in PAGES)),
            )
        }
    assert any("htmx" in file for file in weights[request])
    assert {url: files for url, files in weights.items() if sum(files.values()) > MAX_BYTES} == {}
    assert all(f"{site}/static/products/app.css" in files for files in weights.values())
