"""A large job with a thousand failures is repaired on its page: by pattern, by edit, by corrected file."""

import csv
import io
import uuid
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.work import lane
from processing.work.pipeline import Pipeline
from products import lifecycle
from products.models import Request
from tests.support.batches import JPEG, counters, settle
from tests.support.factories import ingest, make_csv, submit
from tests.support.names import Names
from tests.support.origin import Origin
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES, FAILURES = 10_000, 1_000
CODES = (
    *("http_404", "http_403", "http_410", "http_500", "timeout", "dns"),
    *("connect", "tls", "not_an_image", "too_large", "corrupt_image"),
)
#: Failed pictures that are repaired in each way; the others by the first pattern.
INVALID, IN_FILE, EDITED = 80, 200, 2
MOVED = FAILURES - INVALID - IN_FILE - EDITED
MOVED_HOSTS = [f"img{number}.old.example" for number in range(1, 25)]
FILE_HOSTS = [f"cdn{number}.gone.example" for number in range(1, 5)]


def broken_url(number: int) -> str:
    """Return the URL of a failed picture: of 30 hosts, one of them in URLs without a scheme that is known."""
    if number <= INVALID:
        return f"htp://shop.old.example/{number}.jpg"
    if number <= INVALID + IN_FILE:
        return f"http://{FILE_HOSTS[number % len(FILE_HOSTS)]}/{number}.jpg"
    if number <= INVALID + IN_FILE + EDITED:
        return f"http://typo.example/{number}.jpg"
    return f"http://{MOVED_HOSTS[number % len(MOVED_HOSTS)]}/{number}.jpg"


@pytest.fixture
def batch(ann: User, watch: Watch) -> Request:
    """A finished Request with two pictures in a row, of which every tenth has failed."""
    watch.expect("404 (Not Found)")  # thumbnails: the completed ones have no stored output
    step = PICTURES // FAILURES
    urls = [
        broken_url(number // step) if number % step == 0 else f"http://shop.example/{number}.jpg"
        for number in range(1, PICTURES + 1)
    ]
    rows = [
        (f"S{row}", f"Product {row}", f"{first} {second}")
        for row, (first, second) in enumerate(zip(urls[::2], urls[1::2], strict=True), 1)
    ]
    failed = {
        number * step: CODES[number % len(CODES)] for number in range(INVALID + 1, FAILURES + 1)
    }  # the invalid ones have failed from the start
    return settle(ingest(submit(ann, make_csv(*rows))), failed)


@pytest.fixture
def good(origin: Origin, names: Names, settings: Settings) -> str:
    """The domain, with its port, at which all pictures are; its subdomains are the same server."""
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]
    for number in range(1, FAILURES + 1):
        origin.add(f"/{number}.jpg", JPEG)
    for host in [*MOVED_HOSTS, *FILE_HOSTS, "shop.old.example", "typo.example"]:
        names[f"{host.partition('.')[0]}.new.example"] = ["127.0.0.1"]
    return f"new.example:{origin.port}"


@pytest.fixture
def pipeline(settings: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    settings.MEDIA_ROOT = tmp_path
    pipeline = Pipeline(uuid.uuid4())
    yield pipeline
    pipeline.close(20)


def work(batch: Request, pipeline: Pipeline) -> None:
    """Do what a worker does until the run is over."""
    batch.refresh_from_db()
    while batch.is_active:
        lifecycle.sweep(batch)
        batch.refresh_from_db()
        lane.run(batch, pipeline)
        batch.refresh_from_db()


def expect_counts(site: "Page", batch: Request, *, completed: int, failed: int) -> None:
    """Check a finished run on the request's page, and that counters and rows agree."""
    site.reload()
    counts = {"Completed": completed, "Failed": failed}
    for label, count in counts.items():
        fact = site.locator("#progress .facts div", has=site.get_by_text(label, exact=True))
        expect(fact.locator("dd")).to_have_text(f"{count:,}")
    assert counters(batch) == {
        "total": PICTURES,
        **{name.lower(): count for name, count in counts.items() if count},
    }


def open_failures(site: "Page", failed: int) -> None:
    site.get_by_role("link", name="Repair failures").click()
    expect(site.locator(".lead")).to_contain_text(f"{failed:,} of {PICTURES:,} pictures failed.")
    site.get_by_text("Select what to retry or leave out").click()


def replace(site: "Page", find: str, by: str, *, preview: str) -> None:
    """Replace a text in URLs, after a preview that says this."""
    site.get_by_label("Find", exact=True).fill(find)
    site.get_by_label("Replace with").fill(by)
    site.get_by_role("button", name="Preview changes").first.click()
    expect(site.get_by_role("status")).to_contain_text(preview)
    expect(site.get_by_role("table", name="The first 10 changes").get_by_role("row")).to_have_count(11)
    site.get_by_role("button", name="Replace and fetch").click()


def corrected(site: "Page", good: str) -> dict[str, object]:
    """Download the failed rows and correct their URLs, as in a spreadsheet."""
    with site.expect_download() as waited:
        site.get_by_role("link", name="Download failed rows").last.click()
    rows = list(csv.reader(io.StringIO(waited.value.path().read_text())))
    assert len(rows) == 1 + IN_FILE
    rows = [[cell.replace(".gone.example", f".{good}") for cell in row[:3]] + row[3:] for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return {"name": "corrected.csv", "mimeType": "text/csv", "buffer": text.getvalue().encode()}


def upload(site: "Page", file: dict[str, object], button: str) -> None:
    form = site.locator("form", has=site.get_by_label("Corrected file"))
    form.get_by_label("Corrected file").set_input_files(file)  # type: ignore[arg-type]
    form.get_by_role("button", name=button).click()


def repair_by_pattern(site: "Page", batch: Request, good: str, pipeline: Pipeline) -> None:
    """Repair 24 hosts at once, then the URLs that lack a scheme, as a group of their own."""
    completed, failed = PICTURES - FAILURES, FAILURES
    open_failures(site, failed)
    replace(
        site,
        ".old.example/",
        f".{good}/",
        preview=f"{MOVED} pictures would be fetched from another URL. {INVALID} new URLs would be invalid",
    )
    expect(site.get_by_role("status").first).to_have_text(f"Fetching {MOVED} pictures.")
    work(batch, pipeline)
    completed, failed = completed + MOVED, failed - MOVED
    expect_counts(site, batch, completed=completed, failed=failed)
    open_failures(site, failed)
    site.get_by_role("link", name="Invalid picture URL").click()
    replace(
        site,
        "htp://shop.old.example",
        f"http://shop.{good}",
        preview=f"{INVALID} pictures would be fetched from another URL.",
    )
    work(batch, pipeline)
    expect_counts(site, batch, completed=completed + INVALID, failed=failed - INVALID)


def repair_by_edit(site: "Page", batch: Request, good: str, pipeline: Pipeline) -> None:
    """Change the URLs of single pictures, one after the other."""
    for left in range(EDITED, 0, -1):
        failed = IN_FILE + left
        open_failures(site, failed)
        groups = site.get_by_role("table", name="By cause and host")
        row = groups.get_by_role("row").filter(has=site.get_by_role("cell", name="typo.example"))
        row.first.get_by_role("link").click()
        site.locator("summary").filter(has_text="Change URL").first.click()
        url = site.get_by_label("New URL").first
        url.fill(url.input_value().replace("typo.example", f"typo.{good}"))
        site.get_by_role("button", name="Fetch", exact=True).first.click()
        expect(site.get_by_role("status").first).to_have_text("Fetching 1 picture.")
        work(batch, pipeline)
        expect_counts(site, batch, completed=PICTURES - failed + 1, failed=failed - 1)


def repair_by_file(site: "Page", batch: Request, good: str, pipeline: Pipeline) -> None:
    """Upload the failed rows that are left, corrected."""
    open_failures(site, IN_FILE)
    file = corrected(site, good)
    upload(site, file, "Preview changes")
    expect(site.get_by_role("status")).to_contain_text(
        f"{IN_FILE} pictures would be fetched from another URL."
    )
    site.get_by_role("button", name="Apply and fetch").click()
    expect(site.get_by_role("status").first).to_have_text(f"Fetching {IN_FILE} pictures.")
    work(batch, pipeline)
    expect_counts(site, batch, completed=PICTURES, failed=0)
    expect(site.locator("#progress .status")).to_have_text("Completed")
    expect(site.get_by_role("link", name="Repair failures")).to_have_count(0)


def expect_one_result(site: "Page", batch: Request) -> None:
    """Check that the result has the rows as they were, each with both of its outputs."""
    with site.expect_download() as waited:
        site.get_by_text("Download", exact=True).click()
        site.get_by_role("link", name="Download results").click()
    header, *rows = csv.reader(io.StringIO(waited.value.path().read_text()))
    with batch.source.open() as source:
        assert [row[:3] for row in (header, *rows)] == list(csv.reader(io.StringIO(source.read().decode())))
    assert {(len(row[3].split()), *row[4:]) for row in rows} == {(2, "completed", "")}


def test_a_thousand_failures_are_repaired_to_none(
    site: "Page", live_server: LiveServer, batch: Request, good: str, pipeline: Pipeline
) -> None:
    assert batch.images.failed().values("host").exclude(host="").distinct().count() == 29
    assert batch.images.failed().values("error_code").distinct().count() == 12
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    expect_counts(site, batch, completed=PICTURES - FAILURES, failed=FAILURES)
    repair_by_pattern(site, batch, good, pipeline)
    repair_by_edit(site, batch, good, pipeline)
    repair_by_file(site, batch, good, pipeline)
    expect_one_result(site, batch)
    assert [(run.by, run.failed) for run in batch.all_runs][-1] == ("replace", 0)
