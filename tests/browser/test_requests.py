"""Requests in a browser: uploaded, previewed, followed to their end, tried again, canceled, taken home."""

import csv
import io
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import redirect
from PIL import Image
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from products.models import Draft, Request
from products.pages import requests as views
from tests.support.factories import JPEG, OTHER_URL, THIRD_URL, URL, ingest, make_csv, settle, submit
from tests.support.feeds import make_feed, submitted
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Download, Page

ROWS = ((1, "Chair", URL), (2, "Table", OTHER_URL), (3, "Lamp", THIRD_URL))
#: As a file manager does it. Playwright has no drop of files of its own.
DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name, {type: "text/csv"}));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.querySelector("h1").dispatchEvent(
            new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def chosen(data: bytes, name: str = "catalogue.csv") -> dict[str, object]:
    return {"name": name, "mimeType": "text/csv", "buffer": data}


def test_a_file_is_chosen_by_button_previewed_with_other_columns_and_started(
    site: "Page", live_server: LiveServer
) -> None:
    data = make_csv(("1", "A-1", "Chair", URL, OTHER_URL), header=("ID", "Code", "Name", "Images", "More"))
    site.goto(live_server.url)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(data))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    expect(site).to_have_title("Preview of catalogue.csv – Image Extractor")
    first_rows = site.get_by_role("table", name="Rows 1 to 1 of 1")
    expect(first_rows.get_by_role("rowheader")).to_have_text("1")
    expect(first_rows).not_to_contain_text(OTHER_URL)
    site.get_by_label("Serial number").select_option("Code")
    site.get_by_label("More").check()
    update = site.get_by_role("button", name="Update preview")
    update.press("Enter")
    expect(first_rows.get_by_role("rowheader")).to_have_text("A-1")
    expect(first_rows).to_contain_text(OTHER_URL)
    expect(update).to_be_focused()
    site.get_by_role("button", name="Start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")
    batch = ingest(Request.objects.get())
    assert [product.serial_number for product in batch.products.all()] == ["A-1"]
    assert batch.images_total == 2
    site.go_back()  # to the preview, which leads to the request by now
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")


def test_a_preview_that_gets_no_answer_says_so(site: "Page", live_server: LiveServer, watch: Watch) -> None:
    site.goto(live_server.url)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(make_csv()))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    expect(site).to_have_title("Preview of catalogue.csv – Image Extractor")
    site.route("**/drafts/*/", lambda route: route.abort())
    update = site.get_by_role("button", name="Update preview")
    update.click()
    expect(site.get_by_role("alert")).to_have_text("The connection was lost. Try again.")
    watch.complaints.clear()
    site.unroute_all()
    update.click()
    expect(site.get_by_role("alert")).to_have_count(0)


def test_a_file_is_dropped_anywhere_on_the_page(site: "Page", live_server: LiveServer) -> None:
    site.goto(live_server.url)
    site.evaluate(DROP, ["dropped.csv", make_csv(*ROWS).decode()])
    assert (
        site.get_by_label("Catalogue", exact=True).evaluate("input => input.files[0].name") == "dropped.csv"
    )
    expect(site.get_by_label("Catalogue", exact=True)).to_be_focused()
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of dropped.csv")
    assert Draft.objects.get().filename == "dropped.csv"


def test_a_file_is_dropped_on_the_field_by_the_browser_itself(
    site: "Page", live_server: LiveServer, tmp_path: Path
) -> None:
    path = tmp_path / "native.csv"
    path.write_bytes(make_csv(*ROWS))
    site.goto(live_server.url)
    box = site.get_by_label("Catalogue", exact=True).bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    protocol = site.context.new_cdp_session(site)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        protocol.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    expect(site.get_by_label("Catalogue", exact=True)).not_to_have_js_property("value", "")
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("native.csv")
    assert Request.objects.get().filename == "native.csv"


def test_the_sending_of_a_large_file_is_shown(site: "Page", live_server: LiveServer) -> None:
    site.goto(live_server.url)
    protocol = site.context.new_cdp_session(site)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}
    protocol.send("Network.enable")
    protocol.send("Network.emulateNetworkConditions", slow)
    data = make_csv(*((n, "Chair", f"{URL}?{n}") for n in range(100_000)))
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(data))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_text("Uploading")).to_contain_text(f"of {len(data) / 1e6:.1f} MB")
    expect(site.get_by_role("button", name="Upload and preview")).to_be_disabled()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of catalogue.csv")


def test_a_file_over_the_limit_is_not_sent_at_all(
    site: "Page", live_server: LiveServer, settings: object
) -> None:
    settings.UPLOAD_MAX_BYTES = 1_000_000  # type: ignore[attr-defined]
    site.goto(live_server.url)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(b"x" * 1_600_000))  # type: ignore[arg-type]
    expect(site.get_by_role("alert")).to_have_text("The file is 1.6 MB. The maximum is 1 MB.")
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_label("Catalogue", exact=True)).to_have_js_property("validity.customError", True)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(make_csv(*ROWS)))  # type: ignore[arg-type]
    expect(site.get_by_role("alert")).to_be_hidden()


def test_a_refused_file_says_why_beside_the_field_which_has_the_focus(
    site: "Page", live_server: LiveServer, watch: Watch
) -> None:
    watch.expect("400 (Bad Request)")
    site.goto(live_server.url)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(b"nonsense", "a.csv"))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and start").click()
    expect(site.locator("#id_file_error")).to_contain_text("No column with picture URLs")
    expect(site).to_have_title("Error: Upload a catalogue – Image Extractor")
    expect(site.get_by_label("Catalogue", exact=True)).to_be_focused()
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(make_csv(*ROWS)))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")


def test_an_open_page_follows_the_work_from_0_to_100_without_a_reload(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = submit(ann, make_csv(*ROWS))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    site.evaluate("window.isTheSame = true")
    expect(site.get_by_label("0 of 3 rows read")).to_be_visible()
    batch = ingest(batch)
    expect(site.get_by_label("0 of 3 pictures done")).to_be_attached()
    expect(site).to_have_title("0 % · catalogue.csv – Image Extractor")
    settle(batch, {URL: JPEG})
    expect(site.get_by_label("1 of 3 pictures done")).to_be_attached()
    expect(site).to_have_title("33 % · catalogue.csv – Image Extractor")
    settle(batch, {OTHER_URL: "http_404"})
    expect(site.get_by_role("link", name="Failures 1")).to_be_visible()
    settle(batch, {THIRD_URL: JPEG})
    expect(site).to_have_title("Completed with errors · catalogue.csv – Image Extractor")
    expect(site.get_by_text("Cancel this request")).to_have_count(0)
    expect(site.get_by_role("link", name="Picture not found (404)")).to_be_visible()
    assert site.evaluate("isTheSame")


def test_open_rows_and_failures_follow_the_work_without_a_reload(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    rows, failures = site, site.context.new_page()
    rows.goto(f"{live_server.url}{batch.get_absolute_url()}products/")
    failures.goto(f"{live_server.url}{batch.get_absolute_url()}failures/")
    for page in (rows, failures):
        page.evaluate("window.isTheSame = true")
    settle(batch, {URL: JPEG, OTHER_URL: "http_404"})
    expect(rows.get_by_role("row", name="Chair").get_by_text("Completed")).to_be_visible()
    expect(failures.get_by_role("heading", name="Picture not found (404) · 1 picture")).to_be_visible()
    expect(rows.get_by_role("img", name="Compressed picture 1 of row 1")).to_have_js_property(
        "naturalWidth", 32
    )
    for page in (rows, failures):
        assert page.evaluate("isTheSame")


def test_what_failed_is_tried_again_and_completes(site: "Page", live_server: LiveServer, ann: User) -> None:
    batch = settle(ingest(submit(ann, make_csv(*ROWS))), {URL: JPEG, OTHER_URL: "timeout", THIRD_URL: "dns"})
    site.goto(f"{live_server.url}{batch.get_absolute_url()}failures/")
    cause = site.locator(".cause", has_text="Download timed out")
    cause.get_by_role("link", name="Show rows").click()
    expect(site.locator(".products").get_by_role("rowheader")).to_have_text(["2"])
    site.get_by_role("link", name="Failures").click()
    cause.get_by_role("button", name="Retry pictures from").click()
    expect(site.get_by_role("status").first).to_have_text("Retry started.")
    expect(site.get_by_label("2 of 3 pictures done")).to_be_attached()
    batch.refresh_from_db()
    settle(batch, {OTHER_URL: JPEG})
    causes = site.get_by_role("region", name="Failures").get_by_role("rowheader")
    expect(causes).to_have_text(["Server not found"])


def test_a_request_is_canceled(site: "Page", live_server: LiveServer, ann: User) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    stop = site.get_by_role("button", name="Yes, cancel it")
    expect(stop).to_be_hidden()
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Cancel this request").click()
    stop.click()
    expect(site.get_by_role("status").first).to_have_text("Request canceled. Completed pictures are kept.")
    expect(stop).to_have_count(0)
    batch.refresh_from_db()
    assert batch.status == Request.Status.CANCELED


def test_an_open_question_stays_open_when_the_page_follows_the_work(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = submit(ann, make_csv(*ROWS))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Cancel this request").click()
    ingest(batch)
    expect(site.get_by_label("0 of 3 pictures done")).to_be_attached()
    expect(site.get_by_role("button", name="Yes, cancel it")).to_be_visible()


def test_a_request_is_deleted_after_a_confirmation(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch
) -> None:
    watch.expect("404 (Not Found)")  # the page may ask for its products while they are being deleted
    site.goto(f"{live_server.url}{submit(ann).get_absolute_url()}")
    confirm = site.get_by_role("button", name="Delete permanently")
    expect(confirm).to_be_hidden()
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Delete this request").click()
    confirm.click()
    expect(site.get_by_role("status").first).to_have_text("catalogue.csv deleted.")
    assert not Request.objects.exists()


def test_a_page_that_asks_after_a_request_while_it_is_deleted_does_not_stop_the_way_on(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.expect("404 (Not Found)")  # as above
    has_asked = threading.Event()

    def redirect_later(to: str) -> HttpResponse:
        has_asked.clear()
        assert has_asked.wait(100)
        return redirect(to)

    monkeypatch.setattr(views, "redirect", redirect_later)
    site.goto(f"{live_server.url}{submit(ann).get_absolute_url()}")
    site.on("requestfinished", lambda done: has_asked.set() if "/progress/" in done.url else None)
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Delete this request").click()
    site.get_by_role("button", name="Delete permanently").click()
    expect(site.get_by_role("status").first).to_have_text("catalogue.csv deleted.")


def download(page: "Page", name: str) -> "Download":
    if not page.get_by_role("link", name=name).is_visible():
        page.get_by_text("Download", exact=True).click()
    with page.expect_download() as waited:
        page.get_by_role("link", name=name).click()
    return waited.value


@pytest.mark.parametrize(
    ("link", "serials"), [("Download results", ["1", "2"]), ("Download failed rows", ["2"])]
)
def test_results_are_downloaded_and_opened(
    site: "Page", live_server: LiveServer, ann: User, link: str, serials: list[str]
) -> None:
    batch = settle(ingest(submit(ann, make_csv(*ROWS[:2]))), {URL: JPEG, OTHER_URL: "timeout"})
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    rows = list(csv.DictReader(io.StringIO(download(site, link).path().read_text())))
    assert [row["Serial Number"] for row in rows] == serials
    assert rows[-1]["Status"] == "failed"


def test_pictures_are_downloaded_as_a_zip_and_opened(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = settle(ingest(submit(ann, make_csv(ROWS[0]))), {URL: JPEG})
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    with zipfile.ZipFile(download(site, "Download pictures (ZIP)").path()) as archive:
        assert archive.read("1-1.jpg") == JPEG


def test_the_sample_is_a_catalogue_that_can_be_uploaded(site: "Page", live_server: LiveServer) -> None:
    site.goto(live_server.url)
    sample = download(site, "download a sample CSV").path().read_bytes()
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(sample))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_role("table", name="Rows 1 to 6 of 6")).to_be_visible()
    expect(site.get_by_role("heading", name="Warnings")).to_have_count(0)


def test_tabs_and_their_counts_follow_the_work(site: "Page", live_server: LiveServer, ann: User) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    path = f"{live_server.url}{batch.get_absolute_url()}"
    tabs = ("failures", "pictures", "products", "changes", "runs", "deliveries")
    pages = {tab: site.context.new_page() for tab in tabs}
    for tab, page in pages.items():
        page.goto(f"{path}{tab}/")
        page.evaluate("window.isTheSame = true")
    expect(pages["failures"].get_by_text("No picture has failed")).to_be_visible()
    settle(batch, {URL: JPEG, OTHER_URL: "dns", THIRD_URL: "dns"})
    for page in pages.values():
        expect(page.locator("#tab-failures")).to_have_text("Failures 2")
        expect(page.locator("#menus button", has_text="Retry failed")).to_have_count(1)
        expect(page.locator("[hx-trigger]")).to_have_count(0)
        assert page.evaluate("isTheSame")
    expect(pages["changes"].get_by_text("Nothing to compare with")).to_be_visible()
    expect(pages["failures"].get_by_text("No picture has failed")).to_have_count(0)
    expect(pages["failures"].get_by_role("button", name="Replace and fetch")).to_be_visible()
    expect(pages["pictures"].locator(".tile .bad")).to_have_count(2)
    expect(pages["runs"].get_by_role("cell", name="2", exact=True)).to_be_visible()


def test_a_feed_follows_its_run(site: "Page", live_server: LiveServer, ann: User) -> None:
    feed = make_feed(ann)
    _run, batch = submitted(feed, make_csv(*ROWS))
    site.goto(f"{live_server.url}{feed.get_absolute_url()}")
    status = site.locator("#live .status")
    expect(status).not_to_have_text("Completed with errors")
    settle(batch, {URL: JPEG, OTHER_URL: JPEG, THIRD_URL: "dns"})
    expect(status).to_have_text("Completed with errors")
    expect(site.locator("#history tbody .status")).to_have_text("Completed with errors")


def test_the_figures_and_the_tables_of_an_overview_come_together(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    site.evaluate(CONTRADICTIONS)
    settle(batch, {URL: "dns"})
    expect(site.locator("#outcomes tbody tr")).to_have_count(1)
    settle(batch, {OTHER_URL: "http_404"})
    expect(site.locator("#outcomes tbody tr")).to_have_count(2)
    assert site.evaluate("contradictions") == []


#: Collects each moment at which the number of failures is not the sum of the table's.
CONTRADICTIONS = """() => {
    window.contradictions = [];
    document.addEventListener("htmx:afterSettle", () => {
        const failed = Number(document.querySelector(".facts .bad dd")?.textContent ?? 0);
        const cells = [...document.querySelectorAll("#outcomes section:last-child td.number")];
        const listed = cells.reduce((sum, cell) => sum + Number(cell.textContent), 0);
        if (failed !== listed) window.contradictions.push([failed, listed]);
    });
}"""


def test_a_form_on_the_page_of_failures_is_not_lost_to_a_poll(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}failures/")
    settle(batch, {URL: JPEG, OTHER_URL: "dns", THIRD_URL: "dns"})
    site.get_by_label("Find", exact=True).fill("shop")
    expect(site.locator("[hx-trigger]")).to_have_count(0)  # whatever another window starts
    expect(site.get_by_label("Find", exact=True)).to_have_value("shop")


def test_focus_stays_where_it_was_when_a_tab_is_refreshed(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = ingest(submit(ann, make_csv(*ROWS)))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}pictures/")
    site.locator("#picture-2").focus()
    site.get_by_text("Actions", exact=True).click()
    site.locator("#picture-2").focus()
    settle(batch, {URL: JPEG, OTHER_URL: "dns"})
    expect(site.locator("#tab-failures")).to_have_text("Failures 1")
    expect(site.locator("#picture-2")).to_be_focused()
    expect(site.locator("#actions")).to_have_attribute("open", "")


def test_a_feeds_settings_are_not_lost_to_a_poll(site: "Page", live_server: LiveServer, ann: User) -> None:
    feed = make_feed(ann)
    _run, batch = submitted(feed, make_csv(*ROWS))
    site.goto(f"{live_server.url}{feed.get_absolute_url()}")
    site.get_by_label("Name", exact=True).fill("Autumn")
    settle(batch, {URL: JPEG, OTHER_URL: JPEG, THIRD_URL: JPEG})
    expect(site.locator("#history tbody .status")).to_have_text("Completed")
    expect(site.get_by_label("Name", exact=True)).to_have_value("Autumn")
    expect(site.get_by_label("Name", exact=True)).to_be_focused()


def test_one_failure_among_very_many_is_seen_in_the_bar(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = settle(ingest(submit(ann, make_csv(*ROWS))), {URL: JPEG, OTHER_URL: JPEG, THIRD_URL: "dns"})
    Request.objects.update(images_total=100_000, images_completed=99_999)
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    with Image.open(io.BytesIO(site.locator("#progress .bar").first.screenshot())) as bar:
        middle = [bar.convert("RGB").getpixel((x, bar.height // 2)) for x in range(bar.width)]
    assert sum(red > green + 40 for red, green, _blue in middle) >= 3  # type: ignore[misc]
