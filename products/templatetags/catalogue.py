"""Filters for what catalogues and their pictures are called on pages."""

from django import template

from products.catalogue import ARCHIVE_HOST

register = template.Library()


@register.filter
def host_name(host: str) -> str:
    """Return the name of a picture's host; pictures of an uploaded ZIP have none that a user would know."""
    return "In the ZIP" if host == ARCHIVE_HOST else host


@register.filter
def format_name(name: str) -> str:
    """Return the name of a picture format as people write it."""
    return {"webp": "WebP", "jpeg2000": "JPEG 2000"}.get(name, name.upper())
