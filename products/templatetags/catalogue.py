"""Filters for what catalogues and their pictures are called on pages."""

from django import template

from products.catalogue import ARCHIVE_HOST
from products.models.recipes import format_name

register = template.Library()


@register.filter
def host_name(host: str) -> str:
    """Return the name of a picture's host; pictures of an uploaded ZIP have none that a user would know."""
    return "In the ZIP" if host == ARCHIVE_HOST else host


register.filter(format_name)
