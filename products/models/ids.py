"""Ids of Products, Images and renditions, derived from their Request."""

from hashlib import sha1
from uuid import UUID

# RFC 9562, section 4.1: the two highest bits of this digit are 10.
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def uuid5_digits(namespace: UUID, name: str) -> str:
    """Return `uuid.uuid5(namespace, name)` as 32 hex digits, in a quarter of the time."""
    digits = sha1(namespace.bytes + name.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:12]}5{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:32]}"


def product_id(request_id: UUID, row_number: int) -> str:
    """Return the id of a row's Product, as 32 hex digits."""
    return uuid5_digits(request_id, f"row {row_number}")


def image_id(request_id: UUID, url: str) -> str:
    """Return the id of a URL's Image, as 32 hex digits. It makes the URL unique in the Request."""
    return uuid5_digits(request_id, url)


def rendition_id(image: UUID, name: str) -> str:
    """Return the id of an Image's rendition, as 32 hex digits."""
    return uuid5_digits(image, name)


def parse_uuid(text: str) -> UUID | None:
    """Return `text` as a UUID, or None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
