"""Renditions: made and stored with the main output, all or nothing, and only what a change touches anew."""

import csv
import io
import zipfile
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from pytest import MonkeyPatch
from python_calamine import CalamineWorkbook

from processing import loop, measurements
from processing.compress import compress_here
from processing.compress.auto_quality import QUALITIES
from processing.storage.outputs import StorageError, store
from processing.work import attempt
from processing.work.claim import claim
from processing.work.known_pictures import recall
from processing.work.pipeline import Pipeline
from processing.workers.prune import prune
from products import lifecycle
from products.models import Image, Rendition, Request
from tests.processing.work.test_known_pictures import Shop, run, shop, work
from tests.support.batches import ingested
from tests.support.factories import client_of, download, ingest, make_user, make_workbook, submit
from tests.support.origin import Origin
from tests.support.parallel import wait_until
from tests.support.pictures import decoded, photo_jpeg

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]

JPEG = photo_jpeg(300, 200)
THUMB = {"name": "thumb", "width": 60, "height": 60, "fit": "pad", "format": "webp"}
ZOOM = {"name": "zoom", "quality": 90}


def keys(image: Image) -> dict[str, str]:
    """The keys of an Image's outputs by name."""
    return {"": image.output_key, **{one.name: one.key for one in image.renditions.all()}}


def bytes_of(image: Image) -> dict[str, int]:
    """The bytes of an Image's outputs by name."""
    return {"": image.output_bytes or 0, **{one.name: one.bytes for one in image.renditions.all()}}


def api_of(batch: Request) -> Client:
    return client_of(batch.owner)


@pytest.fixture
def made(monkeypatch: MonkeyPatch) -> list[int]:
    """The number of outputs of each picture that was compressed."""
    seen: list[int] = []
    here = compress_here

    def note(data: bytes, recipe: Any, **options: Any) -> Any:
        seen.append(len(recipe.outputs))
        return here(data, recipe, **options)

    monkeypatch.setattr(attempt, "compress_here", note)
    return seen


def test_a_picture_gets_all_outputs_in_one_go(pipeline: Pipeline, origin: Origin, made: list[int]) -> None:
    route = shop(JPEG)
    image = run(origin.add("/lamp.jpg", route), pipeline, renditions=[THUMB, ZOOM])

    assert (route.answered, made) == ([200], [3])
    sizes = {}
    for name, key in keys(image).items():
        with default_storage.open(key) as file:
            picture = decoded(file.read())
        sizes[name] = (picture.size, picture.format)
    assert sizes == {
        "": ((300, 200), "JPEG"),
        "thumb": ((60, 60), "WEBP"),
        "zoom": ((300, 200), "JPEG"),
    }
    batch = image.request
    assert (batch.status, batch.images_completed) == ("completed", 1)
    assert batch.bytes_output == sum(bytes_of(image).values())
    assert batch.runs.get().bytes_output == batch.bytes_output

    (answer,) = api_of(batch).get(f"/api/requests/{batch.pk}/images/").json()["results"]
    thumb = image.renditions.get(name="thumb")
    assert answer["renditions"]["thumb"] == {
        "url": f"http://testserver{thumb.path}",
        **{"bytes": thumb.bytes, "width": 60, "height": 60, "format": "webp", "quality": 50},
    }
    assert list(answer["renditions"]) == ["thumb", "zoom"]


def test_the_quality_that_was_chosen_is_kept_shown_and_taken_over(
    pipeline: Pipeline, origin: Origin, made: list[int]
) -> None:
    small = {"name": "small", "max_width": 100, "effort": "smallest"}
    options: dict[str, Any] = {"quality": "auto", "renditions": [small, ZOOM]}
    url = origin.add("/lamp.jpg", shop(photo_jpeg(300, 200, quality=95)))
    first, second = run(url, pipeline, **options), run(url, pipeline, **options)
    assert made == [3], "the second time all were taken over"
    assert second.unchanged
    for image in (first, second):
        assert image.request.options["quality"] == "auto"
        assert image.output_quality in QUALITIES
        qualities = dict(image.renditions.values_list("name", "quality"))
        assert qualities["small"] in QUALITIES
        assert qualities["zoom"] == 90
        api = api_of(image.request)
        (answer,) = api.get(f"/api/requests/{image.request_id}/images/").json()["results"]
        assert answer["output"]["quality"] == image.output_quality
        assert answer["renditions"]["small"]["quality"] == qualities["small"]
        page = api.get(reverse("picture", args=[image.request_id, image.pk])).content.decode()
        assert f"quality {image.output_quality}" in page
        assert f"quality {qualities['small']}" in page
    run(url, pipeline, **options, effort="fast")
    assert made == [3, 2], "the rendition that has an effort of its own stayed known"


def test_results_and_zip_have_renditions_in_the_order_given(pipeline: Pipeline, origin: Origin) -> None:
    url, missing = origin.add("/lamp.jpg", shop(JPEG)), origin.url("/missing.jpg")
    batch = ingested([url, missing], url, renditions=[ZOOM, THUMB])
    pipeline.submit(batch, claim(batch, pipeline.worker_id, 10))
    wait_until(lambda: not Request.objects.get(pk=batch.pk).is_active)
    batch.refresh_from_db()

    header, first, second = download(api_of(batch), batch, "results.csv").decode().splitlines()
    added = "Output Image Urls,Output Image Urls (zoom),Output Image Urls (thumb),Status,Error"
    assert header.endswith(added)
    thumb = Rendition.objects.get(name="thumb")
    assert thumb.key in second and f"{thumb.key}," in first, "with an empty slot for the failure"
    assert download(api_of(batch), batch, "results.csv", style="replace").decode().count("thumb") == 0

    archive = zipfile.ZipFile(io.BytesIO(download(api_of(batch), batch, "images.zip")))
    assert archive.namelist() == [
        *("1-1.jpg", "1-1-zoom.jpg", "1-1-thumb.webp"),
        *("2-1.jpg", "2-1-zoom.jpg", "2-1-thumb.webp"),
    ]
    with default_storage.open(thumb.key) as file:
        assert archive.read("2-1-thumb.webp") == file.read()


def test_a_workbook_as_result_has_the_columns_of_the_csv(pipeline: Pipeline, origin: Origin) -> None:
    first = ["Serial Number", "Product Name", "Input Image Urls"]
    url = origin.add("/lamp.jpg", shop(JPEG))
    data = make_workbook(first, ["a1", "Lamp", url], ["a2", "None", ""])

    def rows(data: bytes, *renditions: dict[str, Any]) -> list[list[Any]]:
        batch = ingest(submit(make_user(uuid4().hex), data, "lamps.xlsx", renditions=list(renditions)))
        work(batch, pipeline)
        texts = download(api_of(batch), batch, "results.csv").decode().splitlines()
        results.append(download(api_of(batch), batch, "results.xlsx"))
        read = CalamineWorkbook.from_filelike(io.BytesIO(results[-1])).get_sheet_by_index(0).to_python()
        assert read == list(csv.reader(texts))
        return read

    results: list[bytes] = []
    added = ["Output Image Urls", "Output Image Urls (zoom)", "Output Image Urls (thumb)", "Status", "Error"]
    header, lamp, none = rows(data, ZOOM, THUMB)
    assert header == [*first, *added]
    assert all(lamp[3:6]) and len(set(lamp[3:6])) == 3
    assert none[3:] == ["", "", "", "completed", ""]
    assert rows(results[0], ZOOM)[0] == [*first, *added[:2], *added[3:]]
    assert rows(results[1], ZOOM, THUMB)[0] == header


def test_what_is_unchanged_keeps_all_outputs(pipeline: Pipeline, origin: Origin, made: list[int]) -> None:
    route = shop(JPEG)
    url = origin.add("/lamp.jpg", route)
    first = run(url, pipeline, renditions=[THUMB, ZOOM])
    second = run(url, pipeline, renditions=[THUMB, ZOOM])
    assert (route.answered, made, second.unchanged) == ([200, 304], [3], True)
    outputs = keys(first)
    assert keys(second) == outputs
    batch = second.request
    assert batch.images_unchanged == 1
    assert batch.bytes_unchanged == batch.bytes_output == first.request.bytes_output

    lifecycle.delete(first.request)
    third = run(url, pipeline, renditions=[THUMB, ZOOM])
    assert (keys(third), third.unchanged, route.answered[-1]) == (outputs, True, 304)


def test_a_rendition_that_is_added_is_made_alone(pipeline: Pipeline, origin: Origin, made: list[int]) -> None:
    route = shop(JPEG)
    url = origin.add("/lamp.jpg", route)
    first = run(url, pipeline, renditions=[ZOOM])
    second = run(url, pipeline, renditions=[ZOOM, THUMB])
    assert (route.answered, made) == ([200, 200], [2, 1])
    assert not second.unchanged
    assert keys(second).items() > keys(first).items()
    batch = second.request
    assert batch.bytes_unchanged == first.request.bytes_output
    assert batch.bytes_output > batch.bytes_unchanged
    added = second.renditions.get(name="thumb").bytes
    assert batch.bytes_saved == -added, "what the main output saves was counted before"
    assert run(url, pipeline, renditions=[THUMB]).unchanged
    assert route.answered == [200, 200, 304]


def test_metrics_count_each_output_that_is_stored_and_each_saving_once(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    saved, stored = list[tuple[Any, ...]](), list[float]()
    monkeypatch.setattr(measurements, "count_bytes_saved", lambda *values: saved.append(values))
    monkeypatch.setattr(measurements, "observe_store", stored.append)
    url = origin.add("/lamp.jpg", shop(JPEG))
    first = run(url, pipeline, renditions=[ZOOM])
    counted = (len(JPEG), first.request.bytes_output, "jpeg", "compressed")
    assert (saved, len(stored)) == ([counted], 2)
    run(url, pipeline, renditions=[ZOOM, THUMB])
    assert (saved, len(stored)) == ([counted], 3)


def test_a_changed_size_of_one_rendition_leaves_the_other_outputs_as_they_were(
    pipeline: Pipeline, origin: Origin, made: list[int]
) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    before = keys(run(url, pipeline, renditions=[ZOOM, THUMB]))
    after = keys(run(url, pipeline, renditions=[ZOOM, {**THUMB, "width": 61}]))
    assert made == [3, 1]
    assert {name for name in before if before[name] != after[name]} == {"thumb"}
    renamed = keys(run(url, pipeline, renditions=[{**ZOOM, "name": "large"}, {**THUMB, "name": "small"}]))
    assert made == [3, 1]
    assert renamed == {"": before[""], "large": before["zoom"], "small": before["thumb"]}


def test_a_picture_that_changed_gets_all_outputs_anew(pipeline: Pipeline, origin: Origin) -> None:
    route: Shop = shop(JPEG, etag='"1"')
    url = origin.add("/lamp.jpg", route)
    before = keys(run(url, pipeline, renditions=[ZOOM, THUMB]))
    route.data, route.etag = photo_jpeg(300, 200, seed=1), '"2"'
    after = run(url, pipeline, renditions=[ZOOM, THUMB])
    assert not after.unchanged
    assert keys(after).keys() == before.keys()
    assert not set(keys(after).values()) & set(before.values())


def test_outputs_that_are_made_alike_are_known_alike(
    pipeline: Pipeline, origin: Origin, made: list[int]
) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    twin = [{"name": "twin"}]
    first, second = run(url, pipeline, renditions=twin), run(url, pipeline, renditions=twin)
    assert (made, second.unchanged) == ([2], True)
    assert keys(second) == keys(first)


def test_an_output_whose_file_is_gone_is_made_again(
    pipeline: Pipeline, origin: Origin, made: list[int]
) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    before = keys(run(url, pipeline, renditions=[ZOOM, THUMB]))
    default_storage.delete(before["thumb"])
    assert keys(run(url, pipeline, renditions=[ZOOM, THUMB])) == before
    assert made == [3, 1]
    assert default_storage.exists(before["thumb"])


def test_a_picture_that_is_too_small_fails_though_its_outputs_are_known(
    pipeline: Pipeline, origin: Origin
) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    run(url, pipeline)
    image = run(url, pipeline, min_width=301)
    assert (image.status, image.error_code) == ("failed", "too_small")
    assert image.error_detail == "The picture has 300 × 200 pixels. It must be at least 301 pixels wide."


def test_nothing_is_recorded_of_a_picture_of_which_one_output_cannot_be_stored(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    def fails_for_webp(data: bytes, extension: str, *name: str) -> str:
        if extension == "webp":
            raise StorageError("full")
        return store(data, extension, *name)

    url = origin.add("/lamp.jpg", shop(JPEG))
    monkeypatch.setattr(attempt, "store", fails_for_webp)
    image = run(url, pipeline, renditions=[ZOOM, THUMB])
    assert (image.status, image.error_code, image.output_key) == ("pending", "storage", "")
    assert not Rendition.objects.exists()
    assert (image.request.images_completed, image.request.bytes_output) == (0, 0)


def test_an_output_that_was_deleted_meanwhile_is_not_taken_over(pipeline: Pipeline, origin: Origin) -> None:
    url = origin.add("/lamp.jpg", shop(JPEG))
    first = run(url, pipeline, renditions=[THUMB])
    batch = ingested(url, renditions=[THUMB])
    (image,) = claim(batch, pipeline.worker_id, 1)
    known = recall(batch, [url])[url]
    lifecycle.delete(first.request)
    outcome = loop.run(pipeline._attempts.make(replace(image, known=known))).outcome
    (written,) = lifecycle.record(batch.pk, [outcome], pipeline.worker_id)
    assert (written.status, written.renditions) == ("pending", ())
    assert not Rendition.objects.filter(image=image.id).exists()
    again = work(batch, pipeline)
    assert (again.status, again.unchanged) == ("completed", False)
    assert set(keys(again)) == {"", "thumb"}


@pytest.mark.usefixtures("own_uploads")
def test_rows_go_with_their_images_and_files_with_prune(pipeline: Pipeline, origin: Origin) -> None:
    image = run(origin.add("/lamp.jpg", shop(JPEG)), pipeline, renditions=[THUMB])
    stored = set(keys(image).values())
    assert Image.objects.outputs_in_use([*stored, "images/00/none.jpg"]) == stored
    prune(36_500)
    assert all(default_storage.exists(key) for key in stored)
    lifecycle.delete(image.request)
    assert not Rendition.objects.exists()
    assert Image.objects.outputs_in_use(stored) == set()


def test_outputs_are_named_as_their_source_if_wanted(
    pipeline: Pipeline, origin: Origin, made: list[int]
) -> None:
    route = shop(JPEG)
    url = origin.add("/Brass%20Lamp.png", route)
    first = run(url, pipeline, renditions=[THUMB], names="source")
    assert {name: key.rpartition("/")[2] for name, key in keys(first).items()} == {
        "": "brass-lamp.jpg",
        "thumb": "brass-lamp.webp",
    }
    second = run(url, pipeline, renditions=[THUMB], names="source")
    assert (route.answered, made, keys(second)) == ([200, 304], [2], keys(first))
    assert all("brass" not in key for key in keys(run(url, pipeline, renditions=[THUMB])).values())
    prune(36_500)
    assert all(default_storage.exists(key) for key in keys(first).values())
