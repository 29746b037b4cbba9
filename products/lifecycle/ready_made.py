"""Ready-made profiles: what shops ask of pictures. docs/profiles.md has the sources."""

from typing import Any, NamedTuple
from uuid import UUID, uuid5

from products.models import Profile

#: Of the ids of ready-made profiles.
NAMESPACE = UUID("6f0cf2a4-6d43-4d5f-9d0e-3b1c6b8f2a57")
WHITE = "#ffffff"


class ReadyMade(NamedTuple):
    """Options to upload with, or to copy into an own profile. `slug` is its name in the form that copies."""

    slug: str
    name: str
    text: str
    options: dict[str, Any]

    @property
    def profile(self) -> Profile:
        """A profile with these options that is not stored, always with the same id."""
        return Profile(pk=uuid5(NAMESPACE, self.slug), name=self.name, options=self.options)


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


def ready_made_profile(wanted: str | None) -> Profile | None:
    """Return the ready-made profile with the id `wanted`, not stored; None if there is none."""
    return next((one.profile for one in READY_MADE if str(one.profile.pk) == wanted), None)
