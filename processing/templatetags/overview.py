"""The template tag of the admin's first page."""

from django import template

from processing.monitoring.overview import Overview

register = template.Library()


@register.simple_tag
def overview() -> Overview:
    """Return the state of the service. Each number is queried where the template uses it."""
    return Overview()
