"""Trials: pictures of a catalogue made as the options say, before anything is submitted."""

import re
from datetime import timedelta
from io import BytesIO
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from PIL import Image as Pillow
from pytest_django import Settings

from processing import loop
from processing.compress import Recipe, compress
from processing.compress.auto_quality import QUALITIES
from processing.work import trial
from processing.work.byte_budget import ByteBudget
from processing.work.models import Trial
from processing.workers.recovery import recover
from products import lifecycle
from products.catalogue import Catalogue
from products.models import Profile, Request
from tests.support.factories import client_of, make_csv, make_user, stored_catalogues
from tests.support.origin import Answer, Origin
from tests.support.pages import body
from tests.support.pictures import photo_jpeg

pytestmark = pytest.mark.django_db

PHOTO = photo_jpeg(400, 300)


@pytest.fixture(autouse=True)
def reachable_origin(settings: Settings) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]


@pytest.fixture
def ann(db: None) -> User:
    return make_user()


@pytest.fixture
def api(ann: User) -> Client:
    return client_of(ann)


def post(api: Client, data: bytes, **options: Any) -> Any:
    return api.post("/api/requests/trial/", {"file": SimpleUploadedFile("a.csv", data), **options})


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_pictures_are_made_as_the_options_say_and_nothing_is_submitted(
    api: Client, ann: User, origin: Origin
) -> None:
    url = origin.add("/a.jpg", Answer(PHOTO))
    gone = origin.add("/b.jpg", Answer(status=404))
    renditions = '[{"name": "thumb", "width": 50}]'
    data = make_csv((1, "Chair", url), (2, "Table", gone), (3, "Lamp", "nope"))
    answer = post(api, data, width=100, format="webp", renditions=renditions)
    assert answer.status_code == 200
    found = answer.json()
    assert {*found} == {"pictures", "estimate"}
    good, bad = sorted(found["pictures"], key=lambda one: one["url"])
    assert good["url"] == url
    assert good["source"] == {"bytes": len(PHOTO), "width": 400, "height": 300, "format": "jpeg"}
    assert good["output"].items() >= {"width": 100, "height": 75, "format": "webp"}.items()
    assert good["error"] is None
    assert (bad["url"], bad["error"]["code"], bad["source"], bad["output"]) == (gone, "http_404", None, None)
    assert (bad["source_url"], bad["output_url"]) == (None, None)

    shown = Client().get(good["source_url"])
    assert (shown["Content-Type"], content(shown)) == ("image/jpeg", PHOTO)
    shown = Client().get(good["output_url"])
    output = content(shown)
    assert (shown["Content-Type"], len(output)) == ("image/webp", good["output"]["bytes"])
    assert Pillow.open(BytesIO(output)).size == (100, 75)
    # One of two pictures was made, of its two outputs.
    assert found["estimate"]["bytes"] > good["output"]["bytes"]
    assert found["estimate"]["seconds"] >= 1
    assert not Request.objects.exists()
    assert origin.count("/a.jpg") == 1


def test_a_trial_says_which_quality_was_chosen_and_knows_what_efforts_take(
    api: Client, origin: Origin
) -> None:
    url = origin.add("/a.jpg", Answer(PHOTO))
    data = make_csv((1, "Chair", url))
    (tried,) = post(api, data, quality="auto").json()["pictures"]
    assert tried["output"]["quality"] in QUALITIES
    assert "quality" not in tried["source"]
    seconds = {
        effort: trial._codec_seconds(
            trial.Tried(url, compress(PHOTO, Recipe(effort=effort), max_pixels=1_000_000), None),
            Recipe(effort=effort),
        )
        for effort in ("balanced", "smallest")
    }
    assert seconds["balanced"] < seconds["smallest"]


def test_the_options_of_a_profile_are_tried(api: Client, ann: User, origin: Origin) -> None:
    Profile.objects.create(owner=ann, name="Small", options={"max_width": 40})
    data = make_csv((1, "Chair", origin.add("/a.jpg", Answer(PHOTO))))
    (picture,) = post(api, data, profile="Small").json()["pictures"]
    assert (picture["output"]["width"], picture["output"]["height"]) == (40, 30)


def test_pictures_are_spread_over_hosts_and_rows_and_the_same_every_time() -> None:
    rows = [(n, "Chair", f"https://a.example/{n}.jpg https://a.example/{n}.jpg") for n in range(1000)]
    rows += [(n, "Chair", f"https://{host}.example/{n}.jpg") for n in range(5) for host in "bc"]
    rows.append((1, "Chair", "https://d.example/only.jpg"))

    def chosen() -> Any:
        return trial._chosen(Catalogue(BytesIO(make_csv(*rows))), 8)

    urls, hosts = chosen()
    assert len({*urls}) == 8
    assert hosts == {"a.example": 1000, "b.example": 5, "c.example": 5, "d.example": 1}
    by_host = [url.split("/")[2][0] for url in urls]
    assert {host: by_host.count(host) for host in "abcd"} == {"a": 3, "b": 2, "c": 2, "d": 1}
    numbers = [int(url.split("/")[3].removesuffix(".jpg")) for url in urls if "a.example" in url]
    assert max(numbers) > 100
    assert chosen() == (urls, hosts)


@pytest.mark.parametrize("sample", ["0", "13", "some"])
def test_a_wrong_number_of_pictures_is_refused(api: Client, sample: str) -> None:
    answer = post(api, make_csv(), sample=sample)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == ("sample", "Use a whole number from 1 to 12.")


def test_as_many_pictures_are_made_as_asked_for(api: Client, origin: Origin) -> None:
    rows = [(n, "Chair", origin.add(f"/{n}.jpg", Answer(PHOTO))) for n in range(5)]
    assert len(post(api, make_csv(*rows), sample="2").json()["pictures"]) == 2


def test_what_takes_too_long_is_left_out_within_the_time_of_a_trial(
    api: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 1)
    rows = [(n, "Chair", origin.add(f"/{n}.jpg", Answer(PHOTO, stall_after=10))) for n in range(8)]
    pictures = post(api, make_csv(*rows)).json()["pictures"]
    assert {one["error"]["code"] for one in pictures} == {"timeout"}


def test_reading_the_catalogue_twice_is_part_of_the_time_of_a_trial(
    api: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, choose = [0.0], trial._chosen

    def slowly(*arguments: Any) -> Any:
        now[0] += trial.TRIAL_SECONDS / 2
        return choose(*arguments)

    monkeypatch.setattr(trial, "_chosen", slowly)
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (picture,) = post(api, make_csv((1, "Chair", origin.add("/a.jpg", Answer(PHOTO))))).json()["pictures"]
    assert picture["error"]["code"] == "timeout"
    assert origin.count("/a.jpg") == 0


def test_sources_of_trials_share_a_budget_of_bytes(
    api: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the budget one source more is held, so of eight that wait to be decoded no more than two."""
    held: list[int] = []
    budget = ByteBudget(len(PHOTO) + 1)
    make = trial._made

    def note(*given: Any) -> Any:
        held.append(len(PHOTO) + 1 - budget._free)
        return make(*given)

    monkeypatch.setattr(trial, "_bytes", budget)
    monkeypatch.setattr(trial, "_made", note)
    rows = [(n, "Chair", origin.add(f"/{n}.jpg", Answer(PHOTO))) for n in range(8)]
    pictures = post(api, make_csv(*rows)).json()["pictures"]
    assert [one["error"] for one in pictures] == [None] * 8
    assert len(held) == 8 and max(held) <= 2 * len(PHOTO) + 1
    assert budget._free == len(PHOTO) + 1


def test_a_trial_that_waits_for_memory_ends_in_time(
    api: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 1)
    monkeypatch.setattr(trial, "_bytes", budget := ByteBudget(1))
    (row,) = [(1, "Chair", origin.add("/a.jpg", Answer(PHOTO)))]
    with trial._account() as other:  # of another trial, which takes all there is
        loop.call(budget.give, other, 2)
        (picture,) = post(api, make_csv(row)).json()["pictures"]
    assert picture["error"]["code"] == "timeout"


def test_only_pictures_of_the_trial_are_shown(api: Client, origin: Origin) -> None:
    (picture,) = post(api, make_csv((1, "Chair", origin.add("/a.jpg", Answer(PHOTO))))).json()["pictures"]
    url = picture["output_url"]
    assert Client().get(url).status_code == 200
    for number in ("1", "9" * 300):
        assert Client().get(url.replace("/0/output", f"/{number}/output")).status_code == 404
    assert Client().get(url.replace("/output.jpeg", "/../secret.jpeg")).status_code == 404
    assert Client().get(url.replace("/output.jpeg", "/output.svg")).status_code == 404


def test_a_refused_file_is_refused_and_nothing_is_fetched(api: Client) -> None:
    assert post(api, b"A,B\n1,2\n").json()["errors"][0]["code"] == "missing_column"
    bad = make_csv((1, "Chair", "nope"))
    assert post(api, bad, strict="true").json()["errors"][0]["code"] == "invalid_url"
    assert post(api, bad).json() == {"pictures": [], "estimate": {"bytes": 0, "seconds": 0}}


def test_trials_are_counted_as_uploads_and_few_are_made_at_once(
    api: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(trial.MAX_TRIALS):
        assert trial._trials.acquire(blocking=False)
    try:
        answer = post(api, make_csv())
    finally:
        trial._trials.release(trial.MAX_TRIALS)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (429, "too_many_trials")
    assert answer["Retry-After"]
    settings.USER_UPLOADS_PER_MINUTE = 0
    assert post(api, make_csv()).json()["errors"][0]["code"] == "throttled"


def test_files_of_a_trial_are_gone_after_an_hour(api: Client, origin: Origin) -> None:
    data = make_csv((1, "Chair", origin.add("/a.jpg", Answer(PHOTO))))
    before = stored_catalogues()
    (picture,) = post(api, data).json()["pictures"]
    recover()
    assert len(stored_catalogues()) == len(before) + 2
    assert Client().get(picture["output_url"]).status_code == 200
    Trial.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert Client().get(picture["output_url"]).status_code == 404
    recover()
    assert stored_catalogues() == before
    assert not Trial.objects.exists()


def test_a_preview_shows_a_trial_of_the_options_in_its_form(api: Client, ann: User, origin: Origin) -> None:
    data = make_csv(
        (1, "Chair", origin.add("/a.jpg", Answer(PHOTO))), (2, "Table", origin.add("/b.jpg", Answer()))
    )
    page = lifecycle.keep_draft(ann, ContentFile(data, "a.csv")).get_absolute_url()
    assert "Try some pictures" in body(api.get(page))
    columns = {"serial": "Serial Number", "name": "Product Name", "images": "Input Image Urls"}
    form = {"step": "trial", "quality": "40", "format": "jpeg", "max_width": "100", **columns}
    form |= {"renditions-0-name": "thumb", "renditions-0-max_width": "50"}
    shown = api.post(page, form)
    assert shown.status_code == 200
    text = body(shown)
    assert "100 × 75, JPEG" in text
    assert re.search(r"<dt>thumb</dt><dd>[^<]+, 50 × 3[78], JPEG", text)
    assert "127.0.0.1 sent an empty response." in text
    assert "products/compare.js" in text
    assert not Request.objects.exists()
