"""Pictures that are not fetched: those of an uploaded ZIP, and those of the sample."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from zipfile import ZIP_STORED

import pytest
from django.core.files.base import ContentFile
from pytest_django import Settings
from s3transfer.exceptions import RetriesExceededError

from processing.work import uploaded
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from products import lifecycle
from products.catalogue import ARCHIVE_URL, CatalogueError, PictureArchive, host_of
from products.models import Image, Request
from products.models.files import uploads_storage
from products.sample import sample_catalogue, sample_number
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
    return archived(data)


def archived(data: bytes) -> Request:
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
    uploaded.archives.forget(batch.archive)
    image = work(batch, pipeline).images.get()
    assert (image.error_code, image.error_detail) == ("http_404", "The uploaded ZIP is no longer stored.")


def test_a_request_without_a_zip_reads_from_no_other() -> None:
    batch = Request(archive="")
    assert not uploaded.is_uploaded(batch, f"{ARCHIVE_URL}/chair.jpg")


@pytest.mark.parametrize(
    "url", [f"{ARCHIVE_URL}.example/chair.jpg", ARCHIVE_URL, "https://shop.example/a.jpg"]
)
def test_pictures_of_other_hosts_are_in_no_zip(url: str) -> None:
    assert not uploaded.is_uploaded(Request(archive="pictures.zip"), url)


def test_a_path_is_shown_of_pictures_in_a_zip_alone() -> None:
    url = f"{ARCHIVE_URL}/images/chair.jpg"
    assert Image(request=Request(archive="pictures.zip"), url=url).uploaded_path == "images/chair.jpg"
    assert Image(request=Request(), url=url).uploaded_path == ""


def test_a_storage_that_fails_costs_no_attempt(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = uploaded_request({"shop/chair.jpg": photo_jpeg(96, 64)}, (1, "Chair", "chair.jpg"))

    def fail(name: str) -> None:
        raise RetriesExceededError(OSError("no answer"))

    monkeypatch.setattr(uploaded, "_open", fail)
    image = work(batch, pipeline).images.get()
    assert (image.status, image.error_code, image.attempts) == ("pending", "storage", 0)
    assert image.error_detail == "The uploaded ZIP could not be read."


def test_pictures_that_cannot_be_read_say_why(pipeline: Pipeline, settings: Settings) -> None:
    settings.FETCH_MAX_BYTES = 100
    data = make_zip(
        {
            "list.csv": make_csv(
                (1, "Large", "large.jpg"), (2, "Broken", "broken.jpg"), (3, "None", "none.jpg")
            ),
            "large.jpg": bytes(200),
            "broken.jpg": b"a picture",
        },
        ZIP_STORED,
    ).getvalue()
    batch = archived(data.replace(b"a picture", b"A picture"))
    images = work(batch, pipeline).images.order_by("number")
    assert [one.error_code for one in images] == ["too_large", "corrupt_image", "http_404"]


def test_each_zip_is_opened_once_by_many_threads_and_those_used_last_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    together = Barrier(8)

    def open_archive(name: str) -> PictureArchive:
        opened.append(name)
        return PictureArchive(make_zip({"list.csv": make_csv()}))

    monkeypatch.setattr(uploaded, "_open", open_archive)
    monkeypatch.setattr(uploaded, "MAX_OPEN_ARCHIVES", 2)
    archives = uploaded.OpenArchives()

    def get(name: str) -> PictureArchive:
        together.wait()
        return archives.get(name)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(get, ["a"] * 8))) == 1
    assert opened == ["a"]
    for name in ("b", "a", "c", "a", "b"):
        archives.get(name)
    assert opened == ["a", "b", "c", "b"]


def test_a_zip_that_could_not_be_opened_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [OSError("down")]

    def open_archive(name: str) -> PictureArchive:
        if errors:
            raise errors.pop()
        return PictureArchive(make_zip({"list.csv": make_csv()}))

    monkeypatch.setattr(uploaded, "_open", open_archive)
    archives = uploaded.OpenArchives()
    with pytest.raises(OSError, match="down"):
        archives.get("a")
    assert archives.get("a").catalogue_name == "list.csv"


@pytest.mark.parametrize(
    ("public_url", "requested"),
    [
        ("https://Shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://müller.example", "https://xn--mller-kva.example"),
    ],
)
def test_the_sample_is_known_however_its_address_is_written(
    settings: Settings, public_url: str, requested: str
) -> None:
    settings.PUBLIC_URL = public_url
    assert [sample_number(f"{one}/sample/3.jpg") for one in (public_url, requested)] == [3, 3]
    assert sample_number(f"{requested}/sample/13.jpg") is None
    assert sample_number(f"{requested}/media/3.jpg") is None


def test_only_pictures_of_the_sample_are_left_out_of_the_hosts_that_are_fetched_from(
    settings: Settings,
) -> None:
    urls = f"{settings.PUBLIC_URL}/sample/1.jpg {settings.PUBLIC_URL}/media/1.jpg"
    preview = lifecycle.preview_catalogue(ContentFile(make_csv((1, "Chair", urls)), "a.csv"))
    host = host_of(settings.PUBLIC_URL)
    assert (preview.hosts, preview.fetched_hosts) == ({host: 2}, {host: 1})


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
