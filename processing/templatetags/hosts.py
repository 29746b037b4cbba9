"""Template tags about hosts, for pages of products, which cannot import processing."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.template import Context

from processing.hosts.models import PausedHost
from processing.hosts.rate_limit import asks_to_wait
from processing.work.host_warnings import warnings_about
from products.models import Request

#: Further hosts are not shown.
MAX_SHOWN_HOSTS = 20

register = template.Library()
register.filter(asks_to_wait)


@register.inclusion_tag("hosts/_paused_hosts.html")
def paused_hosts_of(batch: Request) -> dict[str, Any]:
    """Show the paused hosts that pending pictures of a Request are waiting for."""
    return {"hosts": PausedHost.objects.delaying(batch)[:MAX_SHOWN_HOSTS]}


@register.inclusion_tag("work/_host_warnings.html", takes_context=True)
def host_warnings(context: Context, hosts: Mapping[str, int]) -> dict[str, Any]:
    """Warn of hosts that no picture can be fetched from, as soon as they have been looked up."""
    return {"csrf_token": context.get("csrf_token"), **warnings_about(hosts, context["user"].pk)}
