"""The requests that one URL takes: redirects with their cookies, and conditions. Sends nothing itself."""

from collections.abc import Iterable, Mapping

import httpx

from processing.http.conditions import ConditionRefusals, may_refuse_condition
from processing.http.guard import InvalidAddress, check_url

MAX_REDIRECTS = 5


class RequestChain:
    """The requests for `url`, one after another, until a response is no redirect.

        while True:
            response = send(chain.request())
            if not chain.goes_on(response): …

    The first request to `known_url` carries `conditions`, unless its host is one of `refusals`. If they may
    be the reason for an error, it is made again without. If that succeeds, `refusals` gets the host.
    `private_headers` are sent to the host of `url` only (host:port; also after a redirect to https at the
    default ports, never to http from https). Cookies live as long as the chain. Raises InvalidAddress and
    httpx.TooManyRedirects.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        known_url: str = "",
        conditions: Mapping[str, str] | None = None,
        refusals: ConditionRefusals | None = None,
        private_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.first = self.url = _parsed(url)
        self._headers = headers
        self._private_headers = private_headers or {}
        self._known_url = known_url
        self._known_conditions = conditions or {}
        self._refusals = ConditionRefusals() if refusals is None else refusals
        self._conditions: Mapping[str, str] = {}  # of the latest request
        self._refused = False
        self._cookies: httpx.Cookies | None = None
        self._redirects = 0

    @property
    def has_left(self) -> bool:
        """True if the latest request went to another host than the first one."""
        return self.url.raw_host != self.first.raw_host

    def request(self) -> httpx.Request:
        """Return the next request."""
        check_url(self.url)  # for transports that are not guarded
        is_conditional = str(self.url) == self._known_url and self._host not in self._refusals
        self._conditions = self._known_conditions if is_conditional else {}
        # A client would double the time spent here, on hooks and merged headers.
        headers = [*self._sent_headers(), *self._conditions.items()]
        request = httpx.Request("GET", self.url, headers=headers)
        if self._cookies:
            self._cookies.set_cookie_header(request)
        return request

    def is_unmodified(self, response: httpx.Response) -> bool:
        """Return whether the host still has the version that `conditions` name."""
        return bool(self._conditions) and response.status_code == httpx.codes.NOT_MODIFIED

    def goes_on(self, response: httpx.Response) -> bool:
        """Return whether another request follows this response, of which only the head is needed."""
        if self._conditions:
            self._known_conditions = {}
            if may_refuse_condition(response):
                self._refused = True
                self._refusals.count_repeat(self._host)
                return True
        if not response.has_redirect_location:
            if response.is_success or self.is_unmodified(response):
                self._refusals.count_success(self._host)
                if self._refused:
                    self._refusals.add(self._host)
            return False
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS:
            raise httpx.TooManyRedirects(f"The address was redirected more than {MAX_REDIRECTS} times.")
        self._cookies = self._cookies or httpx.Cookies()
        self._cookies.extract_cookies(response)
        self.url, self._refused = _target(response, self.url), False
        return True

    def _sent_headers(self) -> Iterable[tuple[str, str]]:
        """Return the headers of the next request. Private ones replace others of the same name."""
        if not (self._private_headers and _is_trusted(self.url, self.first)):
            return self._headers.items()
        own = {name.lower() for name in self._private_headers}
        others = [(name, value) for name, value in self._headers.items() if name.lower() not in own]
        return [*others, *self._private_headers.items()]

    @property
    def _host(self) -> str:
        return self.url.netloc.decode("ascii")


def _parsed(url: str) -> httpx.URL:
    url = url.strip()
    if url.startswith("//"):
        url = f"https:{url}"
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidAddress("The address is malformed.") from error


def _is_trusted(url: httpx.URL, first: httpx.URL) -> bool:
    """Return whether what is meant for `first` may be sent to `url`: it is the same host, and as secure."""
    is_same = (url.scheme, url.raw_host, url.port) == (first.scheme, first.raw_host, first.port)
    is_upgrade = first.scheme == "http" and url.scheme == "https" and url.port is first.port is None
    return is_same or (is_upgrade and url.raw_host == first.raw_host)


def _target(response: httpx.Response, url: httpx.URL) -> httpx.URL:
    """Return the target of a redirect from `url`."""
    # Decoded by itself: httpx takes all headers for Latin-1 if one of them is not UTF-8.
    location = next(value for name, value in response.headers.raw if name.lower() == b"location")
    try:
        text = location.decode()
    except UnicodeDecodeError:
        text = location.decode("latin-1")
    try:
        return url.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidAddress(f"{url.host} redirected to an invalid address.") from error
