"""Ready-made profiles to copy: what shops ask of pictures. docs/profiles.md has the sources."""

from typing import Any, NamedTuple

WHITE = "#ffffff"


class ReadyMade(NamedTuple):
    """Options to copy into a profile of one's own. `slug` is its part of the address."""

    slug: str
    name: str
    text: str
    options: dict[str, Any]


def _square(pixels: int, least: int = 0, **others: Any) -> dict[str, Any]:
    """Return the options of a JPEG on a white square, from pictures of at least `least` pixels."""
    options: dict[str, Any] = {"quality": 85, "width": pixels, "height": pixels, "fit": "pad"}
    options |= {"background": WHITE}
    return options | ({"min_width": least, "min_height": least} if least else {}) | others


READY_MADE = (
    ReadyMade(
        "amazon",
        "Amazon",
        "JPEG on a white square of 2,000 px. Pictures below 1,000 px fail.",
        _square(2000, 1000),
    ),
    ReadyMade(
        "google-merchant",
        "Google Merchant",
        "JPEG on a white square of 1,500 px. Pictures below 800 px fail.",
        _square(1500, 800),
    ),
    ReadyMade(
        "shopify",
        "Shopify",
        "JPEG on a white square of 2,048 px, with file names of the sources.",
        _square(2048, names="source"),
    ),
    ReadyMade(
        "ebay",
        "eBay",
        "JPEG within 1,600 px. Pictures below 500 px fail.",
        {"quality": 85, "max_width": 1600, "max_height": 1600, "min_width": 500, "min_height": 500},
    ),
    ReadyMade(
        "web-thumbnails",
        "Web thumbnails",
        "WebP within 1,200 px, and two smaller sizes of 600 and 200 px.",
        {
            "quality": 75,
            "format": "webp",
            "max_width": 1200,
            "max_height": 1200,
            "renditions": [
                {"name": "medium", "max_width": 600, "max_height": 600},
                {"name": "thumb", "max_width": 200, "max_height": 200, "quality": 70},
            ],
        },
    ),
)
