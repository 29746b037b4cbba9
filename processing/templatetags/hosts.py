"""Template tags about hosts, for pages of products, which cannot import processing."""

from typing import Any

from django import template

from processing.hosts.models import PausedHost
from products.models import Request

#: Further hosts are not shown.
MAX_SHOWN_HOSTS = 20

register = template.Library()


@register.inclusion_tag("hosts/_paused_hosts.html")
def paused_hosts_of(batch: Request) -> dict[str, Any]:
    """Show the paused hosts that pending pictures of a Request are waiting for."""
    return {"hosts": PausedHost.objects.delaying(batch)[:MAX_SHOWN_HOSTS]}
