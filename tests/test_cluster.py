"""The main job in a cluster: gunicorn, two worker processes, PostgreSQL, Redis and an origin, all real."""

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.origin import Answer, Handler, Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import Cluster, wait_for

PRODUCTS, PICTURES = 220, 5
FINISHED = {"completed", "completed_with_errors", "failed", "canceled"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as cluster:
        cluster.run(workers=2)
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
        yield client


def catalogue(origin: Origin) -> str:
    """Products with 5 pictures each, more than a page of the API has; each picture has bytes of its own."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["Serial Number", "Product Name", "Input Image Urls", "Price"])
    for number in range(PRODUCTS):
        urls = [
            origin.add(f"/{number}/{k}.jpg", photo_jpeg(120, 90, seed=number * PICTURES + k))
            for k in range(PICTURES)
        ]
        writer.writerow([f"SN-{number}", f"Lamp, model “{number}”", ", ".join(urls), f"{number}.50"])
    return text.getvalue()


def pages(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    while url:
        page = client.get(url).raise_for_status().json()
        yield from page["results"]
        url = page["next"]


def test_a_catalogue_of_1100_pictures_comes_back_complete_and_in_order(
    client: httpx.Client, origin: Origin
) -> None:
    text = catalogue(origin)

    answer = client.post("/api/requests/", files={"file": ("lamps.csv", text)})
    assert answer.status_code == 201, answer.text
    batch = answer.json()

    def finished() -> dict[str, Any] | None:
        state: dict[str, Any] = client.get(f"/api/requests/{batch['id']}/").json()
        counts = state["images"]
        done = counts["completed"] + counts["failed"] + counts["canceled"]
        assert counts["pending"] == counts["total"] - done  # true at every moment
        return state if state["status"] in FINISHED else None

    state = wait_for(finished, "the request finishes")
    total = PRODUCTS * PICTURES
    assert state["status"] == "completed"
    assert state["products"] == {"total": PRODUCTS}
    assert state["images"] == {
        **{"total": total, "completed": total, "pending": 0, "failed": 0, "canceled": 0},
        **{"unchanged": 0, "ignored": 0},
    }
    assert len(origin.received) == total == len({request.target for request in origin.received})

    images = list(pages(client, f"/api/requests/{batch['id']}/images/?page_size=1000"))
    assert len(images) == total
    assert state["bytes"]["source"] == sum(image["source"]["bytes"] for image in images)
    assert state["bytes"]["output"] == sum(image["output"]["bytes"] for image in images)

    result = list(csv.reader(io.StringIO(client.get(state["urls"]["results_csv"]).text, newline="")))
    given = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[:4] for row in result] == given
    assert result[0][4:] == ["Output Image Urls", "Status", "Error"]
    assert {tuple(row[5:]) for row in result[1:]} == {("completed", "")}

    with httpx.Client() as anyone:
        for row in result[1:]:
            outputs = row[4].split(", ")
            assert len(outputs) == PICTURES
            for url in outputs:
                picture = Image.open(io.BytesIO(anyone.get(url).raise_for_status().content))
                picture.load()
                assert (picture.format, picture.size) == ("JPEG", (120, 90))


def test_both_workers_take_part(cluster: Cluster, client: httpx.Client) -> None:
    """Origins answer only when more pictures are asked for at once than one worker fetches."""
    one_worker, per_host = 32, 16
    arrivals, gate = Semaphore(one_worker), Event()
    picture = Answer(photo_jpeg(60, 40, seed=1))

    def meet(handler: Handler) -> None:
        if not arrivals.acquire(blocking=False):
            gate.set()
        gate.wait(60)
        handler.answer(picture)

    with ExitStack() as stack:
        origins = [stack.enter_context(Origin()) for _ in range(3)]
        urls = [origin.add(f"/{number}.jpg", meet) for number in range(2 * per_host) for origin in origins]
        text = "Serial Number,Product Name,Input Image Urls\n1,Lamp,{}\n".format("|".join(urls))
        batch = client.post("/api/requests/", files={"file": ("lamps.csv", text)}).json()

        wait_for(
            lambda: client.get(f"/api/requests/{batch['id']}/").json()["status"] in FINISHED,
            "the request finishes",
        )
        state = client.get(f"/api/requests/{batch['id']}/").json()
        assert state["images"]["completed"] == len(urls)
        # None was given up and tried again.
        assert sum(len(origin.received) for origin in origins) == len(urls)
