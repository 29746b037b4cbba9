"""The pixels that a process works on at once."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.compress import PixelBudget
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from tests.support.batches import completed, held, ingested
from tests.support.origin import Origin
from tests.support.parallel import wait_until
from tests.support.pictures import photo_jpeg


class Worker(threading.Thread):
    """A thread that takes so many pixels, once it may, and keeps them until it is let go."""

    def __init__(self, budget: PixelBudget, pixels: int) -> None:
        super().__init__(daemon=True)
        self._budget, self._pixels = budget, pixels
        self.has, self._enough = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self._budget.taken(self._pixels):
            self.has.set()
            self._enough.wait()

    def let_go(self) -> None:
        self._enough.set()
        self.join(100)


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.let_go()


def test_as_much_is_worked_on_at_once_as_there_is(workers: list[Worker]) -> None:
    budget = PixelBudget(100)
    workers += [Worker(budget, pixels) for pixels in (60, 40)]
    assert all(worker.has.wait(100) for worker in workers)
    workers.append(Worker(budget, 1))
    assert not workers[2].has.wait(0.1)
    workers[0].let_go()
    assert workers[2].has.wait(100)


def test_a_picture_over_the_whole_budget_gets_all_of_it(workers: list[Worker]) -> None:
    budget = PixelBudget(100)
    workers += [Worker(budget, 1000)]
    assert workers[0].has.wait(100)
    workers += [Worker(budget, 1)]
    assert not workers[1].has.wait(0.1)


def test_small_pictures_do_not_overtake_a_large_one_that_waits(workers: list[Worker]) -> None:
    budget = PixelBudget(100)
    workers.append(Worker(budget, 60))
    assert workers[0].has.wait(100)
    workers.append(Worker(budget, 100))
    wait_until(budget._turn.locked)  # it is the one that waits
    workers.append(Worker(budget, 10))
    assert not workers[2].has.wait(0.1)
    workers[0].let_go()
    assert workers[1].has.wait(100)
    assert not workers[2].has.is_set()
    workers[1].let_go()
    assert workers[2].has.wait(100)


def test_what_fails_gives_its_pixels_back() -> None:
    budget = PixelBudget(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), budget.taken(100):
            raise ValueError("broken")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("crashes", [0, 1])
def test_the_pipeline_keeps_to_the_budget_with_and_without_children(
    crashes: int, small_pool: None, origin: Origin, settings: Settings, monkeypatch: MonkeyPatch
) -> None:
    settings.IMAGE_MAX_PIXELS = 64 * 48
    working, most = [0], [0]
    taken = PixelBudget.taken

    @contextmanager
    def watched(budget: PixelBudget, pixels: int) -> Iterator[None]:
        with taken(budget, pixels):
            pixels = min(pixels, 64 * 48)  # no picture gets more than the whole budget
            working[0] += pixels
            most[0] = max(most[0], working[0])
            yield
            working[0] -= pixels

    monkeypatch.setattr(PixelBudget, "taken", watched)
    pipeline = Pipeline(uuid.uuid4())
    batch = ingested(*[origin.add(f"/{seed}.jpg", photo_jpeg(64, 48, seed=seed)) for seed in range(6)])
    batch.images.update(crashes=crashes)
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 10))
    wait_until(lambda: not held())
    pipeline.close(20)
    assert (completed(batch), most[0]) == (6, 64 * 48)
