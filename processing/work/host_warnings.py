"""Warnings of a preview about hosts that no picture can be fetched from, looked up in the background."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

import httpx
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST
from redis.exceptions import RedisError

from processing.http.guard import (
    InvalidAddress,
    UnknownName,
    UnresolvedName,
    check_url,
    is_permitted,
    literal_address,
    resolve,
)

logger = logging.getLogger(__name__)

#: Look-ups at once in a web process, and hosts that wait for one.
MAX_THREADS, MAX_WAITING = 8, 500
#: A host that has waited for longer is not looked up: no page asks any more.
WAIT_SECONDS = 10.0
#: How long a result counts: a name may be registered, and a network allowed.
RESULT_SECONDS = 60
#: A page asks at most POLLS times, one second apart; its token is valid for POLLING_SECONDS.
POLLS, POLLING_SECONDS = 10, 10 * 60
MAX_SHOWN_WARNINGS = 20


def literal_problem(host: str) -> str:
    """Return a sentence if a host is an address that is not fetched from; "" if not, or if it is a name.

    Hosts are host:port, or without the port.
    """
    try:
        name = httpx.URL(f"http://{host}/").host
    except (httpx.InvalidURL, ValueError):  # a problem of its URLs
        return ""
    address = literal_address(name)
    return "" if address is None or is_permitted(address, settings.FETCH_ALLOWED_NETWORKS) else _private(name)


def looked_up_problem(host: str) -> str:
    """Look a host up. Return a sentence if it does not exist or is in a private network; "" otherwise."""
    try:
        url = httpx.URL(f"http://{host}/")
        check_url(url)
        addresses = resolve(url.raw_host.decode("ascii"), url.port or 80)
    except UnknownName:
        return f"There is no host named {url.host}."
    except (httpx.InvalidURL, InvalidAddress, UnresolvedName):
        return ""
    is_reachable = any(is_permitted(address, settings.FETCH_ALLOWED_NETWORKS) for address in addresses)
    return "" if is_reachable else _private(url.host)


def _private(name: str) -> str:
    return f"{name} is in a private network, where this service does not fetch."


def sentence(problem: str, count: int) -> str:
    """Return the warning for a host with `count` pictures."""
    return f"{problem} {'Its picture' if count == 1 else f'Its {count:,} pictures'} will fail."


class HostLookups:
    """Looks hosts up in threads of its own, so that no web thread waits for a name server. Thread-safe.

    Results are in the cache that all web processes share. While it does not answer, nothing is looked up.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # guards the three that follow
        self._waiting: deque[tuple[str, float]] = deque()  # hosts, and until when they wait
        self._asked: set[str] = set()  # those, and the ones that are being looked up
        self._threads = 0

    def results(self, hosts: Iterable[str]) -> dict[str, str]:
        """Return the problems of the hosts that have been looked up, "" for none, and look up the others."""
        hosts = list(hosts)
        try:
            found = cache.get_many([_cache_key(host) for host in hosts])
        except RedisError:
            return dict.fromkeys(hosts, "")
        self._start([host for host in hosts if _cache_key(host) not in found])
        return {host: found[_cache_key(host)] for host in hosts if _cache_key(host) in found}

    def _start(self, hosts: list[str]) -> None:
        until = time.monotonic() + WAIT_SECONDS
        with self._lock:
            new = [host for host in hosts if host not in self._asked][: MAX_WAITING - len(self._waiting)]
            self._waiting += [(host, until) for host in new]
            self._asked.update(new)
            started = min(MAX_THREADS - self._threads, len(self._waiting))
            self._threads += started
        for _ in range(started):
            # A look-up cannot be interrupted, and a daemon does not delay the end of the process.
            Thread(target=self._work, name="lookup", daemon=True).start()

    def _work(self) -> None:
        """Look hosts up until none is waiting."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                host, until = self._waiting.popleft()
            try:
                if time.monotonic() < until:
                    problem = looked_up_problem(host)
                    with suppress(RedisError):  # then `results` looks nothing up either
                        cache.set(_cache_key(host), problem, RESULT_SECONDS)
            except Exception:  # the page goes without this warning
                logger.exception("The host %s could not be looked up", host)
            with self._lock:
                self._asked.discard(host)


def _cache_key(host: str) -> str:
    return f"host:{hashlib.sha256(host.encode()).hexdigest()}"


lookups = HostLookups()


def warnings_about(hosts: Mapping[str, int], user: int, polls_left: int | None = None) -> dict[str, Any]:
    """Return the context of the template: warnings about hosts, given with the number of their pictures.

    `token` is there while hosts are being looked up and polls are left. It gets the next warnings for the
    user with the primary key `user`. `is_first` is true unless this is a poll.
    """
    literal = {host: problem for host in hosts if (problem := literal_problem(host))}
    results = lookups.results(host for host in hosts if host not in literal) | literal
    warnings = [sentence(results[host], count) for host, count in hosts.items() if results.get(host)]
    is_first = polls_left is None
    polls_left = POLLS if polls_left is None else polls_left
    is_waiting = polls_left > 0 and len(results) < len(hosts)
    payload = {"hosts": hosts, "user": user, "polls_left": polls_left - 1}
    return {
        "warnings": warnings[:MAX_SHOWN_WARNINGS],
        "count": len(warnings),
        "is_first": is_first,
        "further": max(0, len(warnings) - MAX_SHOWN_WARNINGS),
        "token": signing.dumps(payload, salt=__name__, compress=True) if is_waiting else "",
    }


@require_POST
@login_required
def host_warnings(request: HttpRequest) -> HttpResponse:
    """Show the warnings so far. Only hosts of the user's previews, which count as uploads, are looked up."""
    try:
        payload = signing.loads(request.POST.get("token", ""), salt=__name__, max_age=POLLING_SECONDS)
    except signing.SignatureExpired:  # of a page that has slept
        return HttpResponse(status=204)
    except signing.BadSignature as error:
        raise BadRequest from error
    if payload["user"] != request.user.pk:
        raise BadRequest
    return render(request, "work/_host_warnings.html", warnings_about(**payload))
