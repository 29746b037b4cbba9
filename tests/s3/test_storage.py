"""Storage on S3: against moto's server, or against the store that TEST_S3_ENDPOINT_URL names."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.feeds.delivery import deliver, result_key
from processing.monitoring import health
from processing.storage.outputs import StorageError, is_stored, require_bucket, store
from processing.storage.s3 import PictureStorage
from processing.workers import prune
from products.feeds import deliveries
from products.feeds.deliveries import set_target
from products.feeds.models import STORAGE
from products.results.result_csv import result_csv
from tests.s3.conftest import Bucket
from tests.support.factories import JPEG, OTHER_JPEG, URL, client_of, make_csv, make_user, settle, submit
from tests.support.factories import ingest as ingest_all
from tests.support.feeds import WORKER, completed, make_feed
from tests.support.parallel import together

IMMUTABLE = "public, max-age=31536000, immutable"


# --- Pictures ---


@pytest.mark.parametrize(
    ("extension", "content_type"),
    [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp"), ("avif", "image/avif")],
)
def test_anyone_reads_a_picture_with_its_type_and_for_as_long_as_a_cache_likes(
    bucket: Bucket, extension: str, content_type: str
) -> None:
    key = store(JPEG, extension)
    answer = httpx.get(default_storage.url(key))
    assert (answer.status_code, answer.content) == (200, JPEG)
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == IMMUTABLE


def test_storing_the_same_bytes_again_changes_nothing(bucket: Bucket) -> None:
    assert store(JPEG, "jpg") == store(JPEG, "jpg")
    assert len(bucket.keys()) == 1


def test_all_threads_look_for_pictures_by_one_client(bucket: Bucket, monkeypatch: MonkeyPatch) -> None:
    key = store(JPEG, "jpg")
    monkeypatch.setattr(PictureStorage, "_create_session", None)
    looks = [lambda: is_stored(key), lambda: is_stored("images/00/none.jpg")]
    assert together(looks) == [True, False]


def test_a_bucket_that_is_gone_is_a_storage_error(no_bucket: Bucket) -> None:
    with pytest.raises(StorageError, match="NoSuchBucket"):
        store(JPEG, "jpg")


def test_public_addresses_begin_with_the_public_url(bucket: Bucket) -> None:
    bucket.use(AWS_S3_PUBLIC_URL="https://images.example.com/shop")
    assert default_storage.url("images/ab/cd.jpg") == "https://images.example.com/shop/images/ab/cd.jpg"


# --- Catalogues ---


@pytest.mark.django_db
def test_a_catalogue_is_kept_where_only_we_can_read_it_and_comes_back_with_its_pictures(
    bucket: Bucket,
) -> None:
    batch = submit(make_user(), make_csv((1, "Chair", URL)))
    assert bucket.keys() == [f"uploads/{batch.pk}.csv"]
    assert httpx.get(f"{bucket.url}/uploads/{batch.pk}.csv").status_code == 403
    settle(ingest_all(batch), {URL: JPEG})
    rows = b"".join(result_csv(batch)).decode().splitlines()
    assert rows[1].split(",")[3].startswith(f"{bucket.url}/images/")


def test_a_large_catalogue_is_read_from_disk(bucket: Bucket) -> None:
    storages["uploads"].save("large.csv", ContentFile(bytes(3_000_000)))
    with storages["uploads"].open("large.csv") as file:
        assert len(file.read()) == 3_000_000
        spooled = cast(Any, file)._file
        assert spooled._rolled, "it would be in memory as a whole"


@pytest.mark.django_db
def test_the_result_of_a_feed_is_replaced_under_its_key_and_never_public(bucket: Bucket) -> None:
    feed = make_feed(make_user())
    set_target(feed, STORAGE)
    key = result_key(feed.pk)
    for picture in (JPEG, OTHER_JPEG):
        completed(feed, {URL: picture})
        delivery = deliveries.claim(feed.pk, WORKER)
        assert delivery
        deliver(delivery)
        delivery.refresh_from_db()
        assert (delivery.error, delivery.due_at) == ("", None)
        batch = feed.latest
        assert batch
        with storages["results"].open(key) as file:
            assert file.read() == b"".join(result_csv(batch))
        keys = bucket.keys()
        assert [one for one in keys if "latest" in one] == [f"results/{feed.pk}/latest.csv"]
    assert httpx.get(f"{bucket.url}/{key}").status_code == 403
    feed.delete()
    age = timezone.now() + prune.GRACE + timedelta(minutes=1)
    assert [*prune._delete_unused(storages["results"], prune._results(), prune._results_in_use, age)]
    assert not {key}.intersection(bucket.keys())


# --- Signed addresses ---


@pytest.mark.django_db
def test_without_public_pictures_a_link_of_ours_leads_to_a_signed_address(
    private_bucket: Bucket, client: Client
) -> None:
    batch = ingest_all(submit(make_user(), make_csv((1, "Chair", URL))))
    settle(batch, {URL: JPEG})
    image = batch.images.get()
    assert httpx.get(f"{private_bucket.url}/{image.output_key}").status_code == 403
    assert image.output_url == f"http://127.0.0.1:8000/images/{image.pk}"
    assert image.output_url in b"".join(result_csv(batch)).decode()
    answer = client.get(f"/images/{image.pk}")
    assert answer.status_code == 302
    assert answer["Cache-Control"] == "public, max-age=1800"
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    picture = httpx.get(answer["Location"])
    assert picture.status_code == 200
    assert picture.headers["Content-Type"] == "image/jpeg"


@pytest.mark.django_db
def test_a_link_to_an_image_that_has_no_picture_leads_nowhere(private_bucket: Bucket, client: Client) -> None:
    batch = ingest_all(submit(make_user(), make_csv((1, "Chair", URL))))
    assert client.get(f"/images/{batch.images.get().pk}").status_code == 404


@pytest.mark.parametrize(
    ("public_url", "signed"),
    [
        ("https://s3.example.com/{}", "https://s3.example.com/{}/images/a.jpg?"),
        ("https://{}.s3.example.com", "https://{}.s3.example.com/images/a.jpg?"),
    ],
)
def test_signatures_are_for_the_public_host(private_bucket: Bucket, public_url: str, signed: str) -> None:
    private_bucket.use(signed=True, AWS_S3_PUBLIC_URL=public_url.format(private_bucket.name))
    url = storages["links"].url("images/a.jpg")
    assert url.startswith(signed.format(private_bucket.name))
    assert "X-Amz-Expires=3600" in url


def test_where_the_public_url_cannot_be_signed_for_the_start_ends(private_bucket: Bucket) -> None:
    with pytest.raises(ImproperlyConfigured, match="AWS_S3_PUBLIC_URL"):
        private_bucket.use(signed=True, AWS_S3_PUBLIC_URL="https://cdn.example.com")


# --- The operator's view ---


def test_the_start_names_a_bucket_that_is_missing(no_bucket: Bucket) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"AWS_STORAGE_BUCKET_NAME.*{no_bucket.name}"):
        require_bucket()


def test_the_start_goes_on_with_a_bucket_that_is_there_and_with_a_store_that_is_silent(
    bucket: Bucket,
) -> None:
    require_bucket()
    bucket.use(AWS_S3_ENDPOINT_URL="http://127.0.0.1:1")
    require_bucket()


def test_storage_check_writes_reads_and_deletes(bucket: Bucket) -> None:
    call_command("storage_check", stdout=(output := io.StringIO()))
    assert output.getvalue().splitlines() == [
        "pictures: a file was written, read and deleted",
        "catalogues: a file was written, read and deleted",
    ]
    assert bucket.keys() == []


def test_storage_check_names_what_is_wrong(no_bucket: Bucket) -> None:
    with pytest.raises(CommandError, match=r"pictures: AWS_STORAGE_BUCKET_NAME is not an existing bucket"):
        call_command("storage_check")


def test_storage_check_works_without_s3_too(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    call_command("storage_check", stdout=(output := io.StringIO()))
    assert output.getvalue().count("written, read and deleted") == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_ready_means_that_the_bucket_takes_a_file(bucket: Bucket) -> None:
    assert {check.name: check.start().result(60) for check in health.CHECKS}["storage"] == {}
    assert bucket.keys() == ["images/ready"]
    bucket.account.remove(bucket.name)
    assert "storage" in {check.name: check.start().result(60) for check in health.CHECKS}["storage"]


def test_create_bucket_may_be_run_again_and_follows_the_setting(bucket: Bucket) -> None:
    key = store(JPEG, "jpg")
    bucket.use(signed=True)
    call_command("create_bucket", stdout=io.StringIO())
    assert httpx.get(f"{bucket.url}/{key}").status_code == 403
    bucket.use()
    call_command("create_bucket", stdout=io.StringIO())
    assert httpx.get(f"{bucket.url}/{key}").status_code == 200


@pytest.mark.django_db
def test_prune_deletes_from_the_bucket_what_no_row_refers_to(
    bucket: Bucket, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "GRACE", prune.GRACE * 0)
    batch = ingest_all(submit(make_user(), make_csv((1, "Chair", URL))))
    settle(batch, {URL: JPEG})
    store(b"nobody's", "jpg")
    storages["uploads"].save("nobodys.csv", ContentFile(b"a"))
    assert prune.prune(1).files == 2
    assert sorted(bucket.keys()) == [batch.images.get().output_key, f"uploads/{batch.pk}.csv"]


@pytest.mark.parametrize("name", ["default", "uploads"])
def test_a_file_that_another_prune_has_just_deleted_is_missing_and_no_failure(
    bucket: Bucket, name: str
) -> None:
    for look in (storages[name].size, storages[name].get_modified_time):
        with pytest.raises(FileNotFoundError):
            look("images/gone.jpg")


@pytest.mark.django_db
def test_all_pictures_come_in_one_file(bucket: Bucket) -> None:
    batch = ingest_all(submit(user := make_user(), make_csv((1, "Chair", URL))))
    settle(batch, {URL: JPEG})
    answer = client_of(user).get(f"/api/requests/{batch.pk}/images.zip")
    assert b"".join(cast(Any, answer).streaming_content).count(JPEG) == 1


def test_parts_of_an_object_are_read_without_the_rest(bucket: Bucket) -> None:
    storage: Any = storages["uploads"]
    data = bytes(range(256)) * 10_000
    name = storage.save("pictures.zip", ContentFile(data))
    with storage.open_ranged(name) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == data[-10:]
        file.seek(1000)
        assert file.read(300) == data[1000:1300]
        file.seek(5)
        assert file.read() == data[5:]
    with pytest.raises(FileNotFoundError):
        storage.open_ranged("none.zip")
