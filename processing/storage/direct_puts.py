"""PUT requests to S3 that the event loop makes itself, for a third of the CPU that boto3 needs.

Each is a copy, signed anew, of a request that boto3 has made, so endpoint, addressing style, region, headers
and credentials are those of boto3. What fails is left to boto3, with its retries and errors.
"""

import hashlib
import logging
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import get_session
from botocore.utils import get_environ_proxies
from yarl import URL

logger = logging.getLogger(__name__)

#: Larger objects are left to boto3, in threads: hashing them would hold up the loop.
MAX_BYTES = 1_000_000
MAX_CONNECTIONS = 64
CONNECT_SECONDS, READ_SECONDS = 5, 30  # as those of boto3

#: Headers of a signed request that are made anew for each.
_OWN_HEADERS = {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=\S+/(?P<region>[^/]+)/s3/aws4_request, SignedHeaders=(?P<signed>[^,]+), .*"
)


@dataclass(frozen=True, slots=True)
class Template:
    """The parts of a PUT by boto3 that all objects share: the URL up to the key, headers, and the region."""

    base_url: str
    headers: dict[str, str]
    region: str

    @classmethod
    def of(cls, request: Any, key: str, body: bytes) -> "Template | None":
        """Return the template of a request of boto3; None if others like it could not be made from it.

        That is one signed in another way, or with headers that depend on the body.
        """
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if (
            match is None
            or headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest()
            or not request.url.endswith(f"/{key}")
        ):
            return None
        names = set(match["signed"].split(";")) - _OWN_HEADERS
        if any("md5" in name or "checksum" in name for name in names):
            return None
        return cls(request.url.removesuffix(key), {name: headers[name] for name in names}, match["region"])

    def request(self, credentials: Any, key: str, body: bytes) -> tuple[str, dict[str, str]]:
        """Return URL and headers of a request for another object, signed with credentials."""
        request = AWSRequest("PUT", self.base_url + key, headers=self.headers, data=body)
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self.region).add_auth(request)
        return request.url, dict(request.headers.items())


class DirectPuts:
    """Stores objects of a `PictureStorage` over connections of its own. Used in the event loop only."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._session: aiohttp.ClientSession | None = None

    async def put(self, key: str, data: bytes) -> bool:
        """Store an object. Return False if it is not stored and boto3 has to store it."""
        template = self._storage.template(key)
        if not template or len(data) > MAX_BYTES:
            return False
        credentials = self._storage.credentials
        is_refresh_needed = getattr(credentials, "refresh_needed", None)  # of temporary credentials only
        if is_refresh_needed and is_refresh_needed():  # boto3 does that, and waits for another server
            return False
        url, headers = template.request(credentials, key, data)
        proxy = get_environ_proxies(url).get(urlsplit(url).scheme)
        try:
            self._session = self._session or self._open()
            async with self._session.put(
                URL(url, encoded=True), data=data, headers=headers, proxy=proxy, allow_redirects=False
            ) as response:
                await response.read()
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            logger.info("S3 did not take %s, which is sent again: %r", key, error)
            return False
        if response.status != 200:
            logger.info("S3 answered %d for %s, which is sent again", response.status, key)
        return response.status == 200

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        context = httpx.create_ssl_context(trust_env=False)
        if bundle := get_session().get_config_variable("ca_bundle"):
            context = ssl.create_default_context(cafile=bundle)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            trust_env=False,
        )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
