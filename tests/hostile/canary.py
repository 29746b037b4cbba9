"""Another user, whose pictures, pages and API calls are timed while an input is at work."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import count
from threading import Event

import httpx

from tests.support.jobs import FINISHED, as_csv
from tests.support.origin import Answer, Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import Deployment

PICTURES = 8
#: Times below this are all the same to a user, and too short to be compared.
FLOOR_SECONDS = 0.1
QUIET_ROUNDS = 5
#: For so long an upload is repeated while the disk is full.
FULL_DISK_SECONDS = 120

Times = dict[str, float]


class Canary:
    """Uploads small catalogues and looks at its page and at the API, again and again."""

    def __init__(self, deployment: Deployment, origin: Origin) -> None:
        self._api = deployment.client(headers={"Authorization": f"Token {deployment.token('canary')}"})
        self._pages = page_client(deployment, "canary")
        self._origin = origin
        self._numbers = count()

    @cached_property
    def addresses(self) -> tuple[str, str]:
        """The addresses in the API of one of its requests and of its webhook endpoint."""
        request = self._api.get("/api/requests/").raise_for_status().json()["results"][0]
        hook = self._api.post("/api/webhooks/", json={"url": self._origin.add("/canary/hook", Answer())})
        return f"/api/requests/{request['id']}/", f"/api/webhooks/{hook.raise_for_status().json()['id']}/"

    def close(self) -> None:
        self._api.close()
        self._pages.close()

    def quiet_times(self) -> Times:
        """Return the usual seconds of each of its acts."""
        return _medians([self._round() for _ in range(QUIET_ROUNDS)])

    def times_while(self, act: Callable[[], object]) -> Times:
        """Call `act`, again and again until the usual rounds have been made meanwhile; return their times."""
        rounds = list[Times]()
        acting = Event()
        acting.set()

        def watch() -> None:
            while acting.is_set():
                rounds.append(self._round())

        with ThreadPoolExecutor(1) as threads:
            watching = threads.submit(watch)
            try:
                while len(rounds) < QUIET_ROUNDS and not watching.done():
                    act()
            finally:
                acting.clear()
            watching.result()
        return _medians(rounds)

    def _round(self) -> Times:
        times: Times = {}
        for name, act in (("pictures", self._pictures), ("page", self._page), ("API", self._list)):
            start = time.monotonic()
            act()
            times[name] = time.monotonic() - start
        return times

    def _pictures(self) -> None:
        rows = []
        for number in range(PICTURES):
            path = f"/canary/{next(self._numbers)}.jpg"
            rows.append([str(number), "Lamp", self._origin.add(path, photo_jpeg(400, 300, seed=number))])
        give_up_at = time.monotonic() + FULL_DISK_SECONDS
        while (made := self._upload(as_csv(rows))).status_code == 507 and time.monotonic() < give_up_at:
            time.sleep(0.02)  # somebody has just filled the disk
        made.raise_for_status()
        url = f"/api/requests/{made.json()['id']}/"
        while (state := self._api.get(url).raise_for_status().json())["status"] not in FINISHED:
            time.sleep(0.02)
        assert state["status"] == "completed", state

    def _upload(self, catalogue: bytes) -> httpx.Response:
        return self._api.post("/api/requests/", files={"file": ("lamps.csv", catalogue)})

    def _page(self) -> None:
        assert "canary" in self._pages.get("/requests/").raise_for_status().text

    def _list(self) -> None:
        assert self._api.get("/api/requests/").raise_for_status().json()["results"]


def page_client(deployment: Deployment, user: str) -> httpx.Client:
    """Return a client that has logged this user, who has an API token, in on the page for it."""
    password = "pictures of lamps"
    deployment.manage(
        *("shell", "-v0", "-c"),
        f"from django.contrib.auth.models import User; user = User.objects.get(username={user!r}); "
        f"user.set_password({password!r}); user.save()",
    )
    client = deployment.client(follow_redirects=True)
    client.get("/login/").raise_for_status()
    form = {"username": user, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    client.post("/login/", data=form).raise_for_status()
    return client


def slow_down(times: Times, quiet: Times) -> dict[str, float]:
    """Return by which factor each act took longer than when all was quiet."""
    return {name: max(1.0, seconds / max(quiet[name], FLOOR_SECONDS)) for name, seconds in times.items()}


def _medians(rounds: list[Times]) -> Times:
    by_name = defaultdict[str, list[float]](list)
    for times in rounds:
        for name, seconds in times.items():
            by_name[name].append(seconds)
    return {name: statistics.median(values) for name, values in by_name.items()}
