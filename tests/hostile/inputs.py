"""Hostile inputs of somebody with an account, an origin or a socket. Each ends when it has had its effect."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from itertools import count
from socket import create_connection, create_server

import httpx
from PIL import Image

from tests.hostile.canary import page_client
from tests.products.catalogue.test_workbook import hostile_workbooks
from tests.support import hostile_pictures
from tests.support.factories import make_workbook
from tests.support.jobs import FINISHED, as_csv
from tests.support.origin import Answer, Origin, Route
from tests.support.pictures import encoded
from tests.support.stack import Deployment, wait_for

#: How long an input is watched whose effect has no end of its own.
WATCHED_SECONDS = 20
_numbers = count()


@dataclass
class Attacker:
    """A user with an account and an origin, who knows the addresses of another user's objects."""

    deployment: Deployment
    origin: Origin
    client: httpx.Client
    others_request: str
    others_webhook: str

    def upload(self, urls: list[str], **data: str) -> httpx.Response:
        return self.upload_file(as_csv([[str(n), "x", url] for n, url in enumerate(urls)]), **data)

    def upload_file(self, content: bytes, name: str = "a.csv", **data: str) -> httpx.Response:
        return self.client.post("/api/requests/", files={"file": (name, content)}, data=data)

    def fetch(self, *routes: Route | bytes) -> str:
        """Let the service fetch pictures, and wait for the end of the request, or as long as is watched.

        Returns the id of the request.
        """
        urls = [self.origin.add(f"/attacker/{next(_numbers)}.jpg", route) for route in routes]
        key: str = self.upload(urls).raise_for_status().json()["id"]
        self.wait_for(key)
        return key

    def pages(self) -> httpx.Client:
        """Return a client that is logged in on the pages."""
        return page_client(self.deployment, "attacker")

    def clean_up(self) -> None:
        """Cancel and delete all of its requests, and its webhook endpoints. Return when they are gone."""
        for path in ("/api/webhooks/", "/api/requests/"):
            while found := self.client.get(path).raise_for_status().json()["results"]:
                for one in found:
                    if path == "/api/requests/":
                        self.client.post(f"{path}{one['id']}/cancel/")
                    self.client.delete(f"{path}{one['id']}/")
        rows = (
            "SELECT 1 FROM products_image i JOIN products_request r ON r.id = i.request_id "
            "JOIN auth_user u ON u.id = r.owner_id WHERE u.username = 'attacker' LIMIT 1"
        )
        wait_for(lambda: not self.deployment.query(rows), "the attacker's requests are gone")

    def wait_for(self, key: str) -> None:
        ends_at = time.monotonic() + WATCHED_SECONDS
        while time.monotonic() < ends_at:
            if self.client.get(f"/api/requests/{key}/").json()["status"] in FINISHED:
                return
            time.sleep(0.1)


INPUTS: dict[str, Callable[[Attacker], object]] = {}
#: For a service with a small disk of its own.
DISK_INPUTS: dict[str, Callable[[Attacker], object]] = {}


def hostile(
    name: str, inputs: dict[str, Callable[[Attacker], object]] = INPUTS
) -> Callable[[Callable[[Attacker], object]], Callable[[Attacker], object]]:
    """Add an input under a name for the table."""

    def add(act: Callable[[Attacker], object]) -> Callable[[Attacker], object]:
        inputs[name] = act
        return act

    return add


# --- Sockets ---


@hostile("8 request heads at a byte a second")
def slow_heads(attacker: Attacker) -> None:
    sockets = [create_connection(("127.0.0.1", attacker.deployment.port)) for _ in range(8)]
    for byte in (b"GET / HTTP/1.1\r\nX: " + b"x" * 100)[:WATCHED_SECONDS]:
        for sock in sockets:
            sock.send(bytes([byte]))
        time.sleep(1)
    for sock in sockets:
        sock.close()


# --- Pictures ---


def picture(name: str, make: Callable[[], bytes], times: int = 3) -> None:
    """Add an input that is a picture, in a catalogue that shows it several times.

    It is made once: to make it keeps the origin, which serves the other user too, from answering.
    """
    made = cache(make)
    hostile(name)(lambda attacker: attacker.fetch(*[made()] * times))


picture("JPEG with 40,000 empty comments", lambda: hostile_pictures.comments(40_000))
picture("JPEG with EXIF in 8,000 segments", lambda: hostile_pictures.split_exif(8_000))
picture(
    "progressive JPEG of 1,000 scans, 49 MP", lambda: hostile_pictures.repeated_scans(1_000, 7_000, 7_000)
)
picture("GIF with 40 MB of comments", lambda: hostile_pictures.gif_comments(40))
picture("TIFF of 1,000,000 tiles", lambda: hostile_pictures.tiny_tiles(1_000_000))
picture("PNG of texts that inflate to 200 MB", lambda: hostile_pictures.inflating_png(200))


def at_once(client: httpx.Client, paths: list[str]) -> set[int]:
    """Get all paths at the same time. Returns the statuses of the answers."""
    with ThreadPoolExecutor(len(paths)) as threads:
        return {answer.status_code for answer in threads.map(client.get, paths)}


@hostile("16 thumbnails of 49 MP at once")
def large_thumbnails(attacker: Attacker) -> None:
    size, first = (7_000, 7_000), next(_numbers)
    drawn = [Image.new("RGB", size, (first % 256, first // 256 % 256, number)) for number in range(16)]
    key = attacker.fetch(*[encoded(picture, "PNG", compress_level=1) for picture in drawn])
    images = attacker.client.get(f"/api/requests/{key}/images/?status=completed").json()["results"]
    with closing(attacker.pages()) as pages:
        paths = [f"/thumbnails/{image['id']}/" for image in images]
        assert at_once(pages, paths) <= {200, 503}


# --- Catalogues ---


@hostile("cell of 131,000 characters of .jpg?")
def long_cell(attacker: Attacker) -> None:
    attacker.upload(["https://a/" + ".jpg?" * 26_000])


GIANT_ROWS = "10 rows with 80,000 URLs each"


@hostile(GIANT_ROWS)
def many_urls(attacker: Attacker) -> None:
    cells = [",".join(f"http://127.0.0.1:9/{row}-{n}.jpg" for n in range(5_000)) for row in range(10)]
    attacker.upload(cells)


@hostile("workbook with one cell of 20 MB")
def large_cell(attacker: Attacker) -> None:
    rows = [["Serial Number", "Product Name", "Input Image Urls"], ["1", "x", "y" * 32_000]]
    attacker.upload_file(make_workbook(*rows * 600), "a.xlsx")


@hostile("15 previews of a file of 10 MB at once")
def previews(attacker: Attacker) -> None:
    rows = [[str(number), "x", f"https://shop.example/{number}.jpg"] for number in range(220_000)]
    with closing(attacker.pages()) as pages:
        form = {"csrfmiddlewaretoken": pages.cookies["csrftoken"], "quality": "50", "format": "jpeg"}
        files = {"file": ("a.csv", as_csv(rows))}
        page = pages.post("/", data={**form, "step": "preview"}, files=files).raise_for_status()
        assert "/drafts/" in page.url.path
        assert at_once(pages, [page.url.path] * 15) <= {200, 429}


@hostile("workbooks and a feed with XML entities, 20 times")
def entities(attacker: Attacker) -> None:
    entity = '<!DOCTYPE a [<!ENTITY b "{}">]>'.format("x" * 40_000)
    files = [(b"%b<rss><channel>%b</channel></rss>" % (entity.encode(), b"<item>&b;</item>" * 1000), "a.xml")]
    files += [
        (data, "a.xlsx") for data, code in hostile_workbooks().values() if code == "unreadable_workbook"
    ]
    for content, name in files * 20:
        assert attacker.upload_file(content, name).status_code == 400


@hostile("catalogues of 40 MB for a disk of 24 MB", DISK_INPUTS)
def full_disk(attacker: Attacker) -> None:
    catalogue = as_csv([[str(number), "x" * 900_000, "https://shop.example/a.jpg"] for number in range(44)])
    for _ in range(5):
        assert attacker.upload_file(catalogue).status_code == 507


@hostile("deep JSON, 200 times")
def deep_json(attacker: Attacker) -> None:
    for _ in range(200):
        answer = attacker.client.post(
            "/api/webhooks/", content=b"[" * 50_000, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400


# --- Shares ---


@hostile("50 slow webhook receivers")
def slow_receivers(attacker: Attacker) -> None:
    for number in range(50):
        url = attacker.origin.add(f"/hook/{number}", Answer(delay=10))
        attacker.client.post("/api/webhooks/", json={"url": url})
    for endpoint in attacker.client.get("/api/webhooks/").json()["results"]:
        attacker.client.post(f"/api/webhooks/{endpoint['id']}/test/")
    time.sleep(WATCHED_SECONDS)


@hostile("3,000 silent hosts")
def silent_hosts(attacker: Attacker) -> None:
    with create_server(("0.0.0.0", 0), backlog=4096) as server:  # noqa: S104 (that is the point)
        port = server.getsockname()[1]
        first = int(IPv4Address("127.1.0.1"))
        urls = [f"http://{IPv4Address(first + number)}:{port}/{number}.jpg" for number in range(3_000)]
        key = attacker.upload(urls).raise_for_status().json()["id"]
        attacker.wait_for(key)
        attacker.client.post(f"/api/requests/{key}/cancel/")


@hostile("20,000 pictures of 2,000 hosts that refuse connections")
def refusing_hosts(attacker: Attacker) -> None:
    first = int(IPv4Address("127.2.0.1"))
    urls = [f"http://{IPv4Address(first + number % 2_000)}:9/{number}.jpg" for number in range(20_000)]
    attacker.upload(urls).raise_for_status()
    time.sleep(WATCHED_SECONDS)


@hostile("429 with Retry-After: 86400 from the canary's own host")
def retry_after(attacker: Attacker) -> None:
    attacker.fetch(*[Answer(status=429, headers={"Retry-After": "86400"})] * 2)


@hostile("4 large requests canceled at once")
def cancels(attacker: Attacker) -> None:
    urls = [f"http://127.0.0.1:9/{number}.jpg" for number in range(20_000)]
    keys = [attacker.upload(urls).raise_for_status().json()["id"] for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda key: attacker.client.post(f"/api/requests/{key}/cancel/"), keys)
        assert {answer.status_code for answer in answers} <= {200, 409}
    time.sleep(WATCHED_SECONDS / 2)


# --- Rights ---


@hostile("staff without rights, 200 calls")
def staff_without_rights(attacker: Attacker) -> None:
    """Try to change what belongs to another user."""
    token = attacker.deployment.token("staff")
    attacker.deployment.manage(
        *("shell", "-v0", "-c"),
        "from django.contrib.auth.models import User; "
        "User.objects.filter(username='staff').update(is_staff=True)",
    )
    calls = [
        ("POST", f"{attacker.others_webhook}rotate/"),
        ("PATCH", attacker.others_webhook),
        ("DELETE", attacker.others_webhook),
        ("POST", f"{attacker.others_request}retry/"),
        ("DELETE", attacker.others_request),
    ]
    with attacker.deployment.client(headers={"Authorization": f"Token {token}"}) as client:
        for method, path in calls * 40:
            assert client.request(method, path, json={}).status_code in {403, 404}
