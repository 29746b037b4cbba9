"""Another user, whose pictures, pages and API calls are timed while an input is at work."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

from tests.support.jobs import FINISHED, as_csv
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import Deployment

PICTURES = 8
#: Times below this are all the same to a user, and too short to be compared.
FLOOR_SECONDS = 0.1
QUIET_ROUNDS = 5

Times = dict[str, float]


class Canary:
    """Uploads small catalogues and looks at its page and at the API, again and again."""

    def __init__(self, deployment: Deployment, origin: Origin) -> None:
        self._api = deployment.client(headers={"Authorization": f"Token {deployment.token('canary')}"})
        self._pages = deployment.client(follow_redirects=True)
        self._origin = origin
        self._numbers = count()
        self._log_in(deployment)

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

    def _log_in(self, deployment: Deployment) -> None:
        deployment.manage(
            *("shell", "-v0", "-c"),
            "from django.contrib.auth.models import User; user = User.objects.get(username='canary'); "
            "user.set_password('pictures of lamps'); user.save()",
        )
        self._pages.get("/login/").raise_for_status()
        token = self._pages.cookies["csrftoken"]
        form = {"username": "canary", "password": "pictures of lamps", "csrfmiddlewaretoken": token}
        self._pages.post("/login/", data=form).raise_for_status()

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
        made = self._api.post(
            "/api/requests/", files={"file": ("lamps.csv", as_csv(rows))}
        ).raise_for_status()
        url = f"/api/requests/{made.json()['id']}/"
        while (state := self._api.get(url).raise_for_status().json())["status"] not in FINISHED:
            time.sleep(0.02)
        assert state["status"] == "completed", state

    def _page(self) -> None:
        assert "canary" in self._pages.get("/requests/").raise_for_status().text

    def _list(self) -> None:
        assert self._api.get("/api/requests/").raise_for_status().json()["results"]


def slow_down(times: Times, quiet: Times) -> dict[str, float]:
    """Return by which factor each act took longer than when all was quiet."""
    return {name: max(1.0, seconds / max(quiet[name], FLOOR_SECONDS)) for name, seconds in times.items()}


def _medians(rounds: list[Times]) -> Times:
    by_name = defaultdict[str, list[float]](list)
    for times in rounds:
        for name, seconds in times.items():
            by_name[name].append(seconds)
    return {name: statistics.median(values) for name, values in by_name.items()}
