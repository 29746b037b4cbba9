"""Explanations of Images' error codes for people who manage a catalogue, and failures grouped by cause."""

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from django.db.models import Count

from products.catalogue import ARCHIVE_HOST
from products.models import ImageStatus, ProductImage, Request

#: Listed pairs of error code and host, the most frequent first.
MAX_LISTED_GROUPS = 20


class Explanation(NamedTuple):
    """A short title, and advice in one to three sentences."""

    title: str
    advice: str


EXPLANATIONS = {
    "invalid_url": Explanation(
        "Invalid picture URL",
        "The cell does not contain a URL that starts with http:// or https://. Change the URL, or upload "
        "corrected rows.",
    ),
    "blocked_address": Explanation(
        "Private network address",
        "The URL leads to a private network, where this service does not fetch. Use a public URL, or ask "
        "your administrator to allow that network.",
    ),
    "dns": Explanation(
        "Server not found",
        "The server name does not exist or could not be resolved. Check its spelling, then retry.",
    ),
    "connect": Explanation(
        "Server unreachable",
        "The server did not respond or closed the connection. It may be down, so retry later.",
    ),
    "timeout": Explanation(
        "Download timed out",
        "The picture did not arrive in time. The server may be busy, so retry later.",
    ),
    "tls": Explanation(
        "Secure connection failed",
        "The server's certificate has expired, does not match its name or is from no known authority. Ask "
        "its owner to correct it.",
    ),
    "too_many_redirects": Explanation(
        "Too many redirects",
        "The URL redirects too many times. Use the picture's final URL.",
    ),
    "too_large": Explanation(
        "File too large",
        "The file is larger than this service accepts. Publish a smaller file at this URL, then retry.",
    ),
    "not_an_image": Explanation(
        "Not a picture",
        "The server sent something else, often a web page saying that the picture is gone. Open the URL in a "
        "browser to check.",
    ),
    "unsupported_format": Explanation(
        "Unsupported format",
        "This picture cannot be read, or cannot be converted to the format you chose. Use JPEG, PNG, WebP, "
        "GIF, BMP, TIFF or AVIF.",
    ),
    "too_small": Explanation(
        "Picture too small",
        "The picture is smaller than the size you asked for. Publish a larger one at this URL, then retry.",
    ),
    "too_many_pixels": Explanation(
        "Too many pixels",
        "The picture's dimensions are larger than this service accepts. Publish a smaller picture at this "
        "URL, then retry.",
    ),
    "corrupt_image": Explanation(
        "Damaged picture",
        "The file is damaged or incomplete. Publish an intact file at this URL, then retry.",
    ),
    "storage": Explanation(
        "Could not be saved",
        "The picture was compressed, but could not be saved for a whole day. Tell your administrator, then "
        "retry.",
    ),
    "crashed": Explanation(
        "Could not be processed",
        "An internal error occurred. Retry, and tell your administrator if it happens again.",
    ),
    "link_expired": Explanation(
        "Link expired",
        "The URL was valid for a limited time only. Export the catalogue again, then upload it.",
    ),
    "http_401": Explanation(
        "Login required (401)",
        "The server shows this picture to logged-in users only. Make it public, or use another URL.",
    ),
    "http_403": Explanation(
        "Access denied (403)",
        "The server does not let this service fetch the picture. Ask its owner to allow it.",
    ),
    "http_404": Explanation(
        "Picture not found (404)",
        "There is no picture at this URL. Correct the URL, or publish the picture there and retry.",
    ),
    "http_410": Explanation(
        "Picture removed (410)",
        "The server says that this picture was permanently removed. Use another URL.",
    ),
    "http_429": Explanation(
        "Too many requests (429)",
        "The server limited requests for a whole day. Retry later, or ask its owner for a higher limit.",
    ),
}

NOT_IN_ZIP = Explanation(
    "Not in the ZIP",
    "The ZIP has no picture of this name. Add it, or correct its name in the catalogue, and upload the ZIP "
    "again.",
)


def explain(code: str, host: str = "") -> Explanation:
    """Return the explanation of an error code, for pictures of one host if it is given.

    Unknown codes get a general one.
    """
    if (code, host) == ("http_404", ARCHIVE_HOST):
        return NOT_IN_ZIP
    if code in EXPLANATIONS:
        return EXPLANATIONS[code]
    status = code.removeprefix("http_")
    if code.startswith("http_5"):
        return Explanation(f"Server error ({status})", "The server had a problem. Retry later.")
    if code.startswith("http_"):
        advice = "The server did not send a picture. Open the URL in a browser to check."
        return Explanation(f"Unexpected response ({status})", advice)
    return Explanation("Other failure", "See the message next to each picture.")


@dataclass(slots=True)
class Cause:
    """The failed Images of a Request with one error code: their number, and the number per listed host."""

    code: str
    count: int
    hosts: list[tuple[str, int]] = field(default_factory=list)

    @property
    def explanation(self) -> Explanation:
        return explain(self.code, self.hosts[0][0] if len(self.hosts) == 1 and not self.unlisted else "")

    @property
    def unlisted(self) -> int:
        """Number of Images on hosts that are not listed."""
        return self.count - sum(count for _, count in self.hosts)

    @property
    def retryable(self) -> bool:
        """A retry cannot help where a URL is invalid, or a ZIP lacks the picture."""
        return self.code != "invalid_url" and self.explanation is not NOT_IN_ZIP


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failed Images with one error code on one host, and the number of rows that show them if counted."""

    code: str
    host: str
    count: int
    rows: int | None

    @property
    def explanation(self) -> Explanation:
        return explain(self.code, self.host)

    @property
    def name(self) -> str:
        """The group in a form; error codes have no space."""
        return f"{self.code} {self.host}"


def failure_groups(batch: Request, *, with_rows: bool = True) -> list[FailureGroup]:
    """Return the failed Images of a Request by error code and host, the largest group first.

    Images are counted in an index, 100,000 in about 20 ms. Counting the rows takes a second for as many.
    """
    causes = batch.images.failed().order_by().values_list("error_code", "host")
    groups = [
        FailureGroup(code, host, count, None) for code, host, count in causes.annotate(count=Count("*"))
    ]
    if with_rows:
        rows = _rows_by_cause(batch)
        groups = [replace(group, rows=rows.get((group.code, group.host), 0)) for group in groups]
    return sorted(groups, key=lambda group: (-group.count, group.code, group.host))


def _rows_by_cause(batch: Request) -> dict[tuple[str, str], int]:
    """Return the number of rows that show failed Images, by error code and host."""
    places = ProductImage.objects.filter(image__request=batch, image__status=ImageStatus.FAILED).order_by()
    by_row = places.values_list("image__error_code", "image__host")
    return {
        (code, host): count for code, host, count in by_row.annotate(count=Count("product", distinct=True))
    }


def is_error_code(code: str) -> bool:
    """Return whether an Image can have failed with this code."""
    return code in EXPLANATIONS or bool(re.fullmatch(r"http_\d{3}", code, re.ASCII))


def failures_by_cause(batch: Request) -> list[Cause]:
    """Return the failed Images of a Request by error code, the most frequent first."""
    by_host = batch.images.failed().order_by().values_list("error_code", "host").annotate(count=Count("*"))
    hosts: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for code, host, count in by_host.order_by("-count", "error_code", "host")[:MAX_LISTED_GROUPS]:
        hosts[code].append((host, count))
    return [Cause(code, count, hosts[code]) for code, count in batch.images.causes()]
