"""A preview warns of hosts that no picture can be fetched from, as soon as it is known."""

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network
from threading import Event
from unittest.mock import Mock

import pytest
from django.core import signing
from django.test import Client
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings
from redis.exceptions import RedisError

from processing.work import host_warnings
from processing.work.host_warnings import POLLS, HostLookups, literal_problem, warnings_about
from tests.support.factories import client_of, make_csv, make_user
from tests.support.names import Names
from tests.support.pages import body, upload
from tests.support.parallel import wait_until

look_up = host_warnings.looked_up_problem


@pytest.fixture(autouse=True)
def no_private_network(settings: Settings) -> None:
    settings.FETCH_ALLOWED_NETWORKS = []


@pytest.fixture
def lookups(monkeypatch: MonkeyPatch, names: Names) -> HostLookups:
    """Looks up what `names` says."""
    monkeypatch.setattr(host_warnings, "looked_up_problem", look_up)
    names["gone.test"] = socket.gaierror(socket.EAI_NONAME, "no such name")
    names["later.test"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    names["inside.test"] = ["10.0.0.1", "fd00::1"]
    names["both.test"] = ["10.0.0.1", "8.8.8.8"]
    names["shop.test"] = ["8.8.8.8"]
    return host_warnings.lookups


def settled(lookups: HostLookups, *hosts: str) -> dict[str, str]:
    """Return the results for all of these hosts."""
    wait_until(lambda: len(lookups.results(hosts)) == len(hosts))
    return lookups.results(hosts)


@pytest.mark.parametrize(
    "host",
    [
        *("192.168.1.5", "192.168.1.5:8080", "127.0.0.1", "169.254.169.254", "[::1]", "[::1]:80"),
        *("[::ffff:10.0.0.1]", "localhost", "localhost:8000", "nas.localhost", "localhost."),
    ],
)
def test_a_private_address_is_a_problem_without_a_look_up(host: str) -> None:
    assert "private network" in literal_problem(host)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2606:4700::1111]", "shop.test", "bücher.test", "", "a b", "[", "x:y"]
)
def test_a_name_or_a_public_address_is_none(host: str) -> None:
    assert literal_problem(host) == ""


def test_an_allowed_network_is_no_problem(settings: Settings, lookups: HostLookups) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("10.0.0.0/8")]
    assert literal_problem("10.1.2.3:8000") == ""
    assert settled(lookups, "inside.test") == {"inside.test": ""}


def test_names_are_looked_up(lookups: HostLookups) -> None:
    assert settled(lookups, "gone.test:8080", "later.test", "inside.test", "both.test", "shop.test", "[") == {
        "gone.test:8080": "There is no host named gone.test.",
        "later.test": "",
        "inside.test": "inside.test is in a private network, where this service does not fetch.",
        "both.test": "",
        "shop.test": "",
        "[": "",
    }


def test_a_host_is_looked_up_once_a_minute(lookups: HostLookups, names: Names) -> None:
    for _ in range(3):
        settled(lookups, "shop.test", "gone.test")
    assert sorted(names.lookups) == ["gone.test", "shop.test"]


@pytest.fixture
def stuck(monkeypatch: MonkeyPatch) -> Iterator[Event]:
    """A name server that answers nothing until the event is set."""
    answer = Event()

    def wait(host: str) -> str:
        answer.wait()
        return "late"

    monkeypatch.setattr(host_warnings, "looked_up_problem", wait)
    yield answer
    answer.set()


def test_a_name_server_that_does_not_answer_holds_up_a_few_threads_and_no_page(
    stuck: Event, monkeypatch: MonkeyPatch
) -> None:
    lookups = HostLookups()
    hosts = [f"{number}.test" for number in range(1_000)]
    for _ in range(3):
        assert lookups.results(hosts) == {}
    assert lookups._threads == host_warnings.MAX_THREADS
    assert len(lookups._waiting) <= host_warnings.MAX_WAITING
    monkeypatch.setattr(host_warnings, "time", _Later)
    stuck.set()
    wait_until(lambda: lookups._threads == 0)
    assert not lookups._asked
    late = [host for host, problem in lookups.results(hosts).items() if problem == "late"]
    assert len(late) == host_warnings.MAX_THREADS  # the others had waited for too long


class _Later:
    """The clock, a minute ahead."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() + 60


def test_an_error_ends_no_thread(lookups: HostLookups, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(host_warnings, "looked_up_problem", lambda host: 1 / 0)
    assert lookups.results(["shop.test"]) == {}
    wait_until(lambda: lookups._threads == 0)
    monkeypatch.setattr(host_warnings, "looked_up_problem", look_up)
    assert settled(lookups, "shop.test") == {"shop.test": ""}


def test_while_the_cache_does_not_answer_look_ups_end_without_a_traceback(
    lookups: HostLookups, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    down = Mock(get_many=lambda keys: {}, set=Mock(side_effect=RedisError))
    monkeypatch.setattr(host_warnings, "cache", down)
    assert lookups.results(["shop.test"]) == {}
    wait_until(lambda: lookups._threads == 0)
    assert down.set.called
    assert not caplog.records


def test_a_page_asks_until_all_is_known_or_time_is_up(lookups: HostLookups, stuck: Event) -> None:
    context = warnings_about({"127.0.0.1": 3, "shop.test": 1}, user=1)
    assert ["Its 3 pictures will fail" in warning for warning in context["warnings"]] == [True]
    for _ in range(POLLS):
        payload = signing.loads(context["token"], salt=host_warnings.__name__)
        context = warnings_about(**payload)
    assert context["token"] == ""
    assert warnings_about({"127.0.0.1": 3}, user=1)["token"] == ""


@pytest.mark.django_db
def test_the_preview_page_warns_at_once_and_as_results_arrive(lookups: HostLookups) -> None:
    page = client_of(make_user())
    urls = [
        "http://192.168.1.5/a.jpg",
        "https://gone.test/b.jpg",
        "https://gone.test/c.jpg",
        "https://shop.test/d.jpg",
    ]
    draft = upload(
        page, make_csv(*((number, "Lamp", url) for number, url in enumerate(urls))), step="preview"
    )
    shown = body(page.get(draft.headers["Location"]))
    assert (
        "192.168.1.5 is in a private network, where this service does not fetch. Its picture will fail."
        in shown
    )
    settled(lookups, "gone.test", "shop.test")
    shown = body(page.get(draft.headers["Location"]))
    assert "2 hosts cannot be reached" in shown
    assert "There is no host named gone.test. Its 2 pictures will fail." in shown
    assert "shop.test is" not in shown
    assert "Checking whether" not in shown


@pytest.mark.django_db
def test_a_page_that_has_slept_stays_as_it_is(lookups: HostLookups, monkeypatch: MonkeyPatch) -> None:
    user = make_user()
    page = client_of(user)
    token = warnings_about({"gone.test": 12}, user.pk)["token"]
    monkeypatch.setattr(host_warnings, "POLLING_SECONDS", 0)
    assert page.post("/drafts/hosts/", {"token": token}).status_code == 204


@pytest.mark.django_db
def test_the_fragment_tells_only_what_its_token_names(lookups: HostLookups) -> None:
    user = make_user()
    page = client_of(user)
    token = warnings_about({"gone.test": 12}, user.pk)["token"]
    settled(lookups, "gone.test")
    shown = body(page.post("/drafts/hosts/", {"token": token}))
    assert "There is no host named gone.test. Its 12 pictures will fail." in shown
    assert "hx-post" not in shown
    for wrong in ({}, {"token": "x"}, {"token": signing.dumps({"hosts": {"shop.test": 1}})}):
        assert page.post("/drafts/hosts/", wrong).status_code == 400
    assert Client().post("/drafts/hosts/", {"token": token}).status_code == 302
    assert client_of(make_user("bob")).post("/drafts/hosts/", {"token": token}).status_code == 400
    assert page.get("/drafts/hosts/").status_code == 405
