"""Pictures that are not fetched: those of an uploaded ZIP, and those of the sample."""

import pytest
from django.core.files.base import ContentFile

from processing.work import uploaded
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from products import lifecycle
from products.catalogue import ARCHIVE_URL, CatalogueError
from products.models import Request
from products.models.files import uploads_storage
from products.pages.sample import sample_catalogue
from tests.products.catalogue.test_picture_archive import make_zip
from tests.support.batches import held, ingest
from tests.support.factories import make_csv, make_user
from tests.support.parallel import wait_until
from tests.support.pictures import photo_jpeg

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]


def work(batch: Request, pipeline: Pipeline) -> Request:
    ingest(batch)
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 100))
    wait_until(lambda: not held())
    batch.refresh_from_db()
    return batch


def uploaded_request(files: dict[str, bytes], *rows: tuple[object, ...]) -> Request:
    data = make_zip({"shop/list.csv": make_csv(*rows), **files}).getvalue()
    with lifecycle.stored_archive(ContentFile(data, "shop.zip")) as (file, name):
        return lifecycle.submit(make_user(), file, archive=name, base_url=ARCHIVE_URL)[0]


def test_pictures_of_a_zip_are_compressed_and_a_missing_one_is_named(pipeline: Pipeline) -> None:
    photo = photo_jpeg(96, 64, seed=1)
    batch = work(
        uploaded_request(
            {"shop/images/chair.jpg": photo}, (1, "Chair", "Images/Chair.jpg"), (2, "Lamp", "lamp.jpg")
        ),
        pipeline,
    )
    chair, lamp = batch.images.order_by("number")
    assert (batch.filename, batch.status) == ("list.csv", Request.Status.COMPLETED_WITH_ERRORS)
    assert (chair.status, chair.source_bytes) == ("completed", len(photo))
    assert chair.uploaded_path == "Images/Chair.jpg"
    assert (lamp.error_code, lamp.error_detail) == ("http_404", "The ZIP has no file named lamp.jpg.")


def test_a_repeat_reads_the_same_zip_and_finds_its_pictures_unchanged(pipeline: Pipeline) -> None:
    first = work(
        uploaded_request({"shop/chair.jpg": photo_jpeg(96, 64, seed=2)}, (1, "Chair", "chair.jpg")), pipeline
    )
    again = work(lifecycle.repeat(first), pipeline)
    assert again.archive == first.archive
    assert again.images.get().unchanged
    assert Request.objects.sources_in_use([first.archive]) == {first.archive}


def test_a_zip_that_is_gone_fails_its_pictures(pipeline: Pipeline) -> None:
    batch = uploaded_request({"shop/chair.jpg": photo_jpeg(96, 64)}, (1, "Chair", "chair.jpg"))
    uploads_storage().delete(batch.archive)
    uploaded._opened.cache_clear()
    image = work(batch, pipeline).images.get()
    assert (image.error_code, image.error_detail) == ("http_404", "The uploaded ZIP is no longer stored.")


def test_a_request_without_a_zip_reads_from_no_other() -> None:
    batch = Request(archive="")
    assert not uploaded.is_uploaded(batch, f"{ARCHIVE_URL}/chair.jpg")


def test_nothing_stays_of_a_zip_whose_catalogue_is_refused() -> None:
    before = set(uploads_storage().listdir("")[1])
    file = ContentFile(make_zip({"list.csv": b"nonsense", "chair.jpg": b"x"}).getvalue(), "shop.zip")
    with pytest.raises(CatalogueError), lifecycle.stored_archive(file) as (catalogue, name):
        lifecycle.submit(make_user(), catalogue, archive=name)
    assert set(uploads_storage().listdir("")[1]) == before


def test_the_sample_needs_no_connection_and_has_one_picture_that_fails(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processing.work.fetch.sample_picture", lambda number: SAMPLE[number])
    batch = lifecycle.submit(make_user(), ContentFile(sample_catalogue(), "sample.csv"))[0]
    batch = work(batch, pipeline)
    assert (batch.images_completed, batch.images_failed) == (11, 1)
    assert batch.images.get(status="failed").error_code == "corrupt_image"


#: Small ones, which are quickly made.
SAMPLE = {number: photo_jpeg(64, 48, seed=number) for number in range(1, 12)}
SAMPLE[12] = photo_jpeg(64, 48, seed=12)[:400]
