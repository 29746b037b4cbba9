"""Waiting times: for one picture, behind a large request, for a slow origin."""

import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from scripts.bench import origin
from scripts.bench.contenders import Service, embedded, wait_idle
from scripts.bench.measure import middle

CROWD, FEW = 50_000, 10
SLOW_MILLISECONDS = 300


def latency(service: Service, urls: list[str]) -> float:
    """Seconds from the upload of one picture to its end, in the median, with a pause before each."""
    waits = []
    for url in urls:
        time.sleep(1.5)
        began = time.time()
        batch = service.finished(service.submit([url])["id"])
        waits.append(datetime.fromisoformat(batch["finished_at"]).timestamp() - began)
    return middle(waits)


def fairness(service: Service, url: str, pictures: int) -> float:
    """Seconds that a few pictures take behind a crowd that keeps all workers busy."""
    crowd = service.submit([f"{url}/{number % pictures}.jpg?crowd={number}" for number in range(CROWD)])
    while service.batch(crowd["id"])["images"]["completed"] < 1000:
        time.sleep(0.5)
    began = time.time()
    few = service.finished(service.submit([f"{url}/{number}.jpg?few={began}" for number in range(FEW)])["id"])
    still_working = service.batch(crowd["id"])["finished_at"] is None
    service.client.post(f"/api/requests/{crowd['id']}/cancel/").raise_for_status()
    wait_idle(service, crowd["id"])
    if not still_working:
        sys.exit("bench: the crowd had gone before the few were done")
    return datetime.fromisoformat(few["finished_at"]).timestamp() - began


def slowness(directory: Path, folder: Path, pictures: int, rounds: int) -> float:
    """Return the part of the throughput lost to an origin that answers after SLOW_MILLISECONDS."""
    seconds: dict[int, list[float]] = {0: [], SLOW_MILLISECONDS: []}
    with ExitStack() as stack:
        service = embedded(stack, directory, FETCH_CONCURRENCY="96", FETCH_PER_HOST="96")
        for number in range(rounds):
            for delay, taken in seconds.items():
                with origin.slow(folder, delay) as url:
                    urls = [f"{url}/{name}.jpg?{number}" for name in range(pictures)]
                    taken.append(service.run(urls).seconds)
    return 1 - middle(seconds[0]) / middle(seconds[SLOW_MILLISECONDS])
