"""Exits with 0 when the web process of this container answers: the image's HEALTHCHECK."""

import os
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

# Asked as through the proxy in front: other hosts are refused, and plain HTTP may be redirected.
public = urlsplit(os.environ.get("PUBLIC_URL") or "http://127.0.0.1:8000")
connection = HTTPConnection("127.0.0.1", 8000, timeout=4)
connection.request("GET", "/healthz", headers={"Host": public.netloc, "X-Forwarded-Proto": public.scheme})
sys.exit(connection.getresponse().status != 200)
