"""Template tag for the first page of the admin."""

from django import template

from processing.monitoring.overview import Overview

register = template.Library()


@register.simple_tag
def overview() -> Overview:
    """Return the Overview, whose figures are queried as the template uses them."""
    return Overview()
