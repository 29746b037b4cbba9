"""Warnings of a preview about hosts, which are looked up after it is shown."""

import threading
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from tests.browser.test_requests import chosen
from tests.support.factories import URL, make_csv

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hosts do not exist, which is found once this is set."""
    answer = threading.Event()

    def look_up(host: str) -> str:
        answer.wait()
        return f"There is no host named {host}."

    monkeypatch.setattr("processing.work.host_warnings.looked_up_problem", look_up)
    monkeypatch.setattr("processing.work.host_warnings.POLLS", 1_000)  # however slow the machine is
    monkeypatch.setattr("processing.work.host_warnings.WAIT_SECONDS", 1_000)
    return answer


def test_a_preview_warns_of_a_server_once_it_has_been_looked_up(
    site: "Page", live_server: LiveServer, answer: threading.Event
) -> None:
    site.goto(live_server.url)
    file = chosen(make_csv((1, "Chair", URL), (2, "Table", "http://192.168.1.5/table.jpg")))
    site.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    warnings = site.locator("#host-warnings")
    expect(warnings.get_by_role("listitem")).to_have_text(
        "192.168.1.5 is in a private network, where this service does not fetch. Its picture will fail."
    )
    expect(warnings).to_contain_text("Checking whether the hosts exist")
    answer.set()
    expect(warnings.get_by_text("2 hosts cannot be reached")).to_be_visible()
    expect(
        warnings.get_by_text("There is no host named shop.example. Its picture will fail.")
    ).to_be_visible()
    expect(warnings).not_to_contain_text("Checking whether")
    site.get_by_role("button", name="Start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")


def test_what_is_found_about_hosts_moves_nothing_and_is_opened_by_a_click(
    site: "Page", live_server: LiveServer, answer: threading.Event
) -> None:
    site.goto(live_server.url)
    site.get_by_label("Catalogue", exact=True).set_input_files(chosen(make_csv((1, "Chair", URL))))  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_text("Checking whether the hosts exist.")).to_be_visible()
    start = site.get_by_role("button", name="Start")
    before = start.bounding_box()
    answer.set()
    found = site.get_by_text("1 host cannot be reached")
    expect(found).to_be_visible()
    assert start.bounding_box() == before
    problem = site.get_by_text("There is no host named shop.example. Its picture will fail.")
    expect(problem).to_be_hidden()
    found.click()
    expect(problem).to_be_visible()
