"""A picture that uses up its time limit fails at the second time, and its Request goes on."""

import pytest
from pytest import MonkeyPatch

from processing.compress import Compressed, NeedsChildError, TimeLimitError, compress
from processing.work import attempt
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from tests.support.batches import held, ingested
from tests.support.origin import Origin
from tests.support.parallel import wait_until
from tests.support.pictures import photo_jpeg

SLOW = photo_jpeg(64, 48, comment=b"slow")


@pytest.fixture
def tries(monkeypatch: MonkeyPatch) -> list[bytes]:
    """The pictures given to a child, which takes too long for those that say so."""
    tries: list[bytes] = []

    def here(data: bytes, *args: object, **options: object) -> Compressed:
        if b"slow" in data:
            raise NeedsChildError(1)
        options.pop("reserve")
        return compress(data, *args, **options)  # type: ignore[arg-type]

    def isolated(data: bytes, *args: object, **options: object) -> Compressed:
        tries.append(data)
        raise TimeLimitError("crashed", "The picture crashes the image decoder.")

    monkeypatch.setattr(attempt, "compress_here", here)
    monkeypatch.setattr(attempt, "compress_isolated", isolated)
    return tries


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_uses_up_its_time_limit_twice_has_crashed(
    pipeline: Pipeline, origin: Origin, tries: list[bytes]
) -> None:
    batch = ingested(origin.add("/slow.jpg", SLOW), origin.add("/good.jpg", photo_jpeg(64, 48)))
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 10))
    wait_until(lambda: not held())
    slow, good = batch.images.order_by("number")
    assert (slow.status, slow.error_code, slow.attempts) == ("failed", "crashed", 1)
    assert good.status == "completed"
    assert tries == [SLOW, SLOW]
