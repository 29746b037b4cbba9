"""What the error codes of Images mean to somebody who looks after a catalogue."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Count

from products.models import Request

#: Pairs of cause and host that are listed: the most frequent ones.
SHOWN_GROUPS = 20


class Meaning(NamedTuple):
    """A short title, and a sentence on what has happened and what helps."""

    title: str
    advice: str


MEANINGS = {
    "invalid_url": Meaning(
        "Not an address of a picture",
        "The cell holds something else than an address that starts with http:// or https://. "
        "Correct it in the catalogue and upload that again.",
    ),
    "blocked_address": Meaning(
        "Address in a private network",
        "The address leads into a private network, where this service may not fetch. Use a public address, "
        "or ask whoever runs the service to allow that network.",
    ),
    "dns": Meaning(
        "Server not found",
        "There is no server of that name, or the name could not be looked up. Check how it is spelled; "
        "if it is right, try again later.",
    ),
    "connect": Meaning(
        "Server not reached",
        "The server did not answer, or broke off. It may have been down for a while: try again later.",
    ),
    "timeout": Meaning(
        "Server too slow",
        "The picture did not arrive in time. The server may have been busy: try again later.",
    ),
    "tls": Meaning(
        "No secure connection",
        "The server's certificate is out of date or not for this name. Its owner has to renew it.",
    ),
    "too_many_redirects": Meaning(
        "Redirected in circles",
        "The address led to another one, and that to the next, without end. Use the picture's final address.",
    ),
    "too_large": Meaning(
        "File too large",
        "The file has more bytes than this service fetches. Offer a smaller one at that address.",
    ),
    "not_an_image": Meaning(
        "Not a picture",
        "Something came, but it is no picture: often a web page that says that the picture has gone. Open "
        "the address in a browser to see it.",
    ),
    "unsupported_format": Meaning(
        "Format not supported",
        "It is a picture of a kind that cannot be read here, or that the chosen format cannot hold. JPEG, "
        "PNG, WebP, GIF, BMP, TIFF and AVIF can be read.",
    ),
    "too_many_pixels": Meaning(
        "Too many pixels",
        "The picture is wider and higher than this service takes. Offer a smaller one at that address.",
    ),
    "corrupt_image": Meaning(
        "Picture damaged",
        "The file begins as a picture does but is damaged or incomplete. Put a good one at that address "
        "and try again.",
    ),
    "storage": Meaning(
        "Could not be stored",
        "The picture is ready, but the storage did not take it for a whole day. Tell whoever runs the "
        "service, then try again.",
    ),
    "crashed": Meaning(
        "Could not be processed",
        "An error occurred that is not the address's fault. Try again; if that does not help, tell whoever "
        "runs the service.",
    ),
    "link_expired": Meaning(
        "Link expired",
        "The address was valid for a limited time only. Export the catalogue again, with fresh addresses.",
    ),
    "http_401": Meaning(
        "Login required",
        "The server shows the picture only to those who log in. Make it public, or use another address.",
    ),
    "http_403": Meaning(
        "Access refused",
        "The server refuses to hand out the picture. Its owner may have to let this service in.",
    ),
    "http_404": Meaning(
        "Picture not there (404)",
        "The server knows no picture at this address. Correct the address, or put the picture there and "
        "try again.",
    ),
    "http_410": Meaning(
        "Picture removed (410)",
        "The server says that the picture was removed for good. Use another address.",
    ),
    "http_429": Meaning(
        "Too many requests for the server (429)",
        "The server wanted to be left alone for a whole day. Try again later, or ask its owner to let more "
        "requests through.",
    ),
}

HTTP = "http_"


def meaning_of(code: str) -> Meaning:
    """What an error code means; any code has a meaning."""
    if code in MEANINGS:
        return MEANINGS[code]
    if code.startswith(f"{HTTP}5"):
        title = f"Error of the server ({code.removeprefix(HTTP)})"
        return Meaning(title, "The server itself had a problem. It may have passed: try again later.")
    if code.startswith(HTTP):
        title = f"Refused by the server ({code.removeprefix(HTTP)})"
        return Meaning(title, "The server did not hand out a picture. Open the address in a browser.")
    return Meaning("Other failure", "What has happened stands beside each picture.")


@dataclass(slots=True)
class Cause:
    """What failed with one code: how many Images, and how many at each host, of the hosts with most."""

    code: str
    count: int
    hosts: list[tuple[str, int]] = field(default_factory=list)

    @property
    def meaning(self) -> Meaning:
        return meaning_of(self.code)

    @property
    def elsewhere(self) -> int:
        """How many at hosts that are not listed."""
        return self.count - sum(count for _, count in self.hosts)

    @property
    def retryable(self) -> bool:
        """An address that is none cannot become one by trying."""
        return self.code != "invalid_url"


def grouped(batch: Request) -> list[Cause]:
    """The failures by cause, the most frequent first."""
    by_host = batch.images.failed().order_by().values_list("error_code", "host").annotate(count=Count("*"))
    hosts: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for code, host, count in by_host.order_by("-count", "error_code", "host")[:SHOWN_GROUPS]:
        hosts[code].append((host, count))
    return [Cause(code, count, hosts[code]) for code, count in batch.images.causes()]
