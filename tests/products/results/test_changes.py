"""Changes since an earlier Request: in the API and on the page."""

import csv
import io
import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from processing.storage.outputs import store
from processing.work.claim import claim
from products import lifecycle
from products.lifecycle import PictureFacts, StoredRendition
from products.models import Image, Rendition, Request
from products.results.changes import State, count_changes
from tests.support.batches import WORKER
from tests.support.factories import HEADER as FACTORY_HEADER
from tests.support.factories import (
    JPEG,
    OTHER_JPEG,
    client_of,
    download,
    ingest,
    make_csv,
    make_user,
    outcome_of,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db

HEADER = ["Change", "Input Image Url", "Output Image Url", "Earlier Output Image Url", "Error"]
BROKEN = "timeout"


def url(name: str) -> str:
    return f"https://shop.example/{name}.jpg"


def finished(user: Any, name: str = "catalogue.csv", **outcomes: bytes | str) -> Request:
    """A finished Request whose pictures, by name, came to be JPEGs or failed with a code."""
    rows = [(number, "Lamp", url(picture)) for number, picture in enumerate(outcomes, 1)]
    batch = ingest(submit(user, make_csv(*rows), name))
    return settle(batch, {url(picture): outcome for picture, outcome in outcomes.items()})


def changes_of(client: Client, batch: Request, **query: str) -> list[list[str]]:
    text = download(client, batch, "results.csv", style="changes", **query).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


def kinds_of(client: Client, batch: Request, **query: str) -> dict[str, str]:
    """Return the change of each picture, by its name."""
    return {row[1].rpartition("/")[2][:-4]: row[0] for row in changes_of(client, batch, **query)[1:]}


def test_each_picture_is_new_changed_unchanged_failing_or_gone() -> None:
    ann = make_user()
    before = finished(ann, same=JPEG, other=JPEG, left=JPEG, breaks=JPEG, broken=BROKEN, mended=BROKEN)
    now = finished(
        ann, mended=JPEG, same=JPEG, other=OTHER_JPEG, breaks=BROKEN, broken=BROKEN, added=OTHER_JPEG
    )
    rows = changes_of(client_of(ann), now)
    was = before.images.get(url=url("same")).output_url
    became = now.images.get(url=url("other")).output_url
    error = "It failed with timeout."
    assert rows == [
        HEADER,
        ["new", url("mended"), was, "", ""],
        ["unchanged", url("same"), was, was, ""],
        ["changed", url("other"), became, was, ""],
        ["failing", url("breaks"), "", was, error],
        ["failing", url("broken"), "", "", error],
        ["new", url("added"), became, "", ""],
        ["gone", url("left"), "", was, ""],
    ]


@pytest.mark.parametrize("style", ["csv", "page"])
def test_a_picture_with_another_rendition_has_changed(style: str) -> None:
    ann, names = make_user(), ("same", "none", "other", "added", "removed")

    def made(**thumbs: str) -> Request:
        """A Request of five pictures, of which these have a rendition, by the content of its file."""
        data = make_csv(*((number, "Lamp", url(name)) for number, name in enumerate(names, 1)))
        batch = ingest(submit(ann, data, renditions=[{"name": "thumb", "width": 60}]))
        outcomes = [
            replace(
                outcome_of(image, JPEG),
                renditions=[
                    StoredRendition("thumb", store(content.encode(), "webp"), PictureFacts(3, 60, 40, "webp"))
                    for name, content in thumbs.items()
                    if image.url == url(name)
                ],
            )
            for image in claim(batch, WORKER, 10)
        ]
        lifecycle.record(batch.pk, outcomes, WORKER)
        return Request.objects.get(pk=batch.pk)

    before = made(same="1", other="1", removed="1")
    now = made(same="1", other="2", added="1")
    if style == "page":
        assert count_changes(State(now), State(before)) == [("Changed", 3), ("Unchanged", 2)]
        return
    header, *rows = changes_of(client_of(ann), now)
    assert header == [*HEADER, "Output Image Url (thumb)", "Earlier Output Image Url (thumb)"]
    kinds = {row[1].rpartition("/")[2][:-4]: row[0] for row in rows}
    assert {name for name in names if kinds[name] == "changed"} == {"other", "added", "removed"}
    assert kinds["same"] == kinds["none"] == "unchanged"

    def thumbs(batch: Request) -> list[str]:
        found = {
            one.image.url: f"{settings.PUBLIC_URL}{one.path}"
            for one in Rendition.objects.filter(image__request=batch)
        }
        return [found.get(row[1], "") for row in rows]

    assert [row[5] for row in rows] == thumbs(now) and thumbs(now)[0]
    assert [row[6] for row in rows] == thumbs(before)


def test_renditions_of_which_only_one_request_has_any_are_columns_too() -> None:
    ann = make_user()
    data = make_csv((1, "Lamp", url("a")))
    batches = [
        settle(ingest(submit(ann, data, renditions=[{"name": name, "width": 60}])), {url("a"): JPEG})
        for name in ("thumb", "zoom")
    ]
    header, row = changes_of(client_of(ann), batches[1])
    assert header[5:9] == [
        f"{title} ({name})"
        for name in ("zoom", "thumb")
        for title in ("Output Image Url", "Earlier Output Image Url")
    ]
    assert row[5:9] == ["", "", "", ""]  # none was stored


def test_outputs_that_nobody_may_read_have_addresses_of_ours(settings: Settings) -> None:
    ann = make_user()
    before, now = finished(ann, same=JPEG), finished(ann, same=JPEG)
    settings.AWS_S3_SIGNED_URLS = True
    output, earlier = (f"{settings.PUBLIC_URL}/images/{batch.images.get().pk}" for batch in (now, before))
    assert changes_of(client_of(ann), now)[1:] == [["unchanged", url("same"), output, earlier, ""]]


def test_what_has_no_outcome_yet_is_what_it_is() -> None:
    ann = make_user()
    finished(ann, a=JPEG, b=JPEG)
    batch = ingest(submit(ann, make_csv((1, "Lamp", url("a")), (2, "Vase", url("b")))))
    assert kinds_of(client_of(ann), batch) == {"a": "pending", "b": "pending"}
    lifecycle.cancel(batch)
    assert kinds_of(client_of(ann), batch) == {"a": "canceled", "b": "canceled"}


def test_compared_is_with_the_latest_earlier_result_of_the_same_owner_and_file() -> None:
    ann, bob = make_user("ann"), make_user("bob")
    finished(ann, a=OTHER_JPEG)
    wanted = finished(ann, a=JPEG)
    finished(ann, "other.csv", a=OTHER_JPEG)
    finished(bob, a=OTHER_JPEG)
    finished(ann, a=BROKEN)  # failed as a whole: no result
    lifecycle.delete(finished(ann, a=JPEG))
    batch = finished(ann, a=JPEG)
    finished(ann, a=OTHER_JPEG)
    assert batch.earlier == wanted
    assert kinds_of(client_of(ann), batch) == {"a": "unchanged"}


@pytest.mark.parametrize(
    ("header", "is_same"),
    [
        (("serial-number", "Product name ", "INPUT IMAGE URLS"), True),
        (("Product Name", "Serial Number", "Input Image Urls"), True),
        ((*FACTORY_HEADER, "Output Image Urls", "Status", "Error"), True),
        ((*FACTORY_HEADER, "Price"), False),
        (("SKU", "Product Name", "Input Image Urls"), False),
    ],
)
def test_compared_is_with_a_catalogue_of_the_same_columns(header: tuple[str, ...], is_same: bool) -> None:
    ann = make_user()
    before = finished(ann, a=JPEG)
    row = [url("a") if name.casefold() == "input image urls" else "1" for name in header]
    batch = settle(ingest(submit(ann, make_csv(row, header=header))), {url("a"): JPEG})
    assert batch.earlier == (before if is_same else None)


def test_compared_is_with_a_request_whose_retry_was_canceled() -> None:
    ann = make_user()
    before = finished(ann, a=JPEG, b=BROKEN)
    lifecycle.retry(before)
    lifecycle.cancel(before)
    assert kinds_of(client_of(ann), finished(ann, a=JPEG, b=BROKEN)) == {"a": "unchanged", "b": "failing"}


def test_without_an_earlier_request_all_is_new() -> None:
    ann = make_user()
    batch = finished(ann, a=JPEG, b=BROKEN)
    assert kinds_of(client_of(ann), batch) == {"a": "new", "b": "failing"}


def test_another_request_can_be_named() -> None:
    ann = make_user()
    first = finished(ann, "october.csv", a=OTHER_JPEG)
    finished(ann, a=JPEG)
    batch = finished(ann, a=JPEG)
    assert kinds_of(client_of(ann), batch, against=str(first.pk)) == {"a": "changed"}


def test_requests_of_others_and_unknown_ones_are_404_and_what_is_no_id_is_400() -> None:
    ann, bob = make_user("ann"), make_user("bob")
    batch, foreign = finished(ann, a=JPEG), finished(bob, a=JPEG)
    path = f"/api/requests/{batch.pk}/results.csv"
    for against, status in [(foreign.pk, 404), (uuid.uuid4(), 404), ("yesterday", 400)]:
        answer = client_of(ann).get(path, {"style": "changes", "against": str(against)})
        assert answer.status_code == status


def test_for_excel_no_cell_is_a_formula() -> None:
    ann = make_user()
    batch = ingest(submit(ann, make_csv((1, "Lamp", "=1+1"))))
    data = download(client_of(ann), batch, "results.csv", style="changes", excel="1")
    assert data.startswith("\ufeffChange,".encode())
    assert "failing,'=1+1," in data.decode()


def test_the_page_of_a_finished_request_counts_what_has_changed() -> None:
    ann = make_user()
    client = client_of(ann)
    before = finished(ann, same=JPEG, other=JPEG, left=JPEG)
    assert "changes" not in client.get(f"{before.get_absolute_url()}changes/").context
    batch = finished(ann, same=JPEG, other=OTHER_JPEG, added=JPEG, broken=BROKEN)
    answer = client.get(f"{batch.get_absolute_url()}changes/")
    counts = {"New": 1, "Changed": 1, "Unchanged": 1, "Gone": 1, "Failing now": 1}
    assert dict(answer.context["changes"]) == counts
    page = answer.content.decode()
    assert all(f"<dt>{label}</dt><dd>1</dd>" in page for label in counts)
    assert before.get_absolute_url() in page


def test_what_has_changed_is_counted_on_its_tab_alone() -> None:
    ann = make_user()
    client = client_of(ann)
    finished(ann, a=JPEG)
    path = finished(ann, a=JPEG).get_absolute_url()
    assert "changes" in client.get(f"{path}changes/").context
    for other in ("", "?q=a", "?status=completed", "?row=1", "?after=1", "pictures/", "failures/", "runs/"):
        assert "changes" not in client.get(path + other, follow=True).context, other


def test_a_page_of_a_request_under_way_counts_nothing() -> None:
    ann = make_user()
    finished(ann, a=JPEG)
    batch = ingest(submit(ann, make_csv((1, "Lamp", url("a")))))
    assert "changes" not in client_of(ann).get(f"{batch.get_absolute_url()}changes/").context


# --- Between runs ---


@pytest.fixture
def repaired() -> Request:
    """A Request with a picture completed in each of its runs 1 to 3, one that always failed, one left out."""
    ann = make_user()
    batch = finished(ann, first=JPEG, second=BROKEN, third=BROKEN, never=BROKEN, ignored=BROKEN)
    lifecycle.set_ignored(batch, batch.images.filter(url=url("ignored")))
    for picture, others in (("second", ("third", "never")), ("third", ("never",))):
        lifecycle.retry(batch)
        batch.refresh_from_db()
        settle(batch, {url(picture): OTHER_JPEG} | {url(other): BROKEN for other in others})
    return batch


def test_two_runs_of_a_request_are_compared(repaired: Request) -> None:
    client = client_of(repaired.owner)
    same = {"never": "failing", "ignored": "ignored", "first": "unchanged"}
    assert kinds_of(client, repaired, against_run="1") == same | {"second": "new", "third": "new"}
    assert kinds_of(client, repaired, against_run="2") == same | {"second": "unchanged", "third": "new"}
    assert kinds_of(client, repaired, run="2", against_run="1") == same | {
        "second": "new",
        "third": "failing",
    }
    output, was, error = next(
        row[2:] for row in changes_of(client, repaired, run="2", against_run="1") if row[1] == url("third")
    )
    assert (output, was, error) == ("", "", "")


def test_a_run_is_compared_while_a_later_one_is_at_work(repaired: Request) -> None:
    lifecycle.retry(repaired)
    assert kinds_of(client_of(repaired.owner), repaired, run="3", against_run="2")["never"] == "failing"
    assert kinds_of(client_of(repaired.owner), repaired, against_run="2")["never"] == "pending"


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ({"run": "4", "against_run": "1"}, "run"),
        ({"run": "2", "against_run": "2"}, "against_run"),
        ({"against_run": "3"}, "against_run"),
        ({"against_run": "0"}, "against_run"),
        ({"against_run": "1", "against": str(uuid.uuid4())}, "against"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    repaired: Request, query: dict[str, str], attr: str
) -> None:
    path = f"/api/requests/{repaired.pk}/results.csv"
    answer = client_of(repaired.owner).get(path, {"style": "changes", **query})
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)


@pytest.mark.parametrize("style", [{}, {"style": "replace"}])
@pytest.mark.parametrize(
    "query", [{"run": "1"}, {"against_run": "1"}, {"against": str(uuid.uuid4())}], ids=" ".join
)
def test_what_is_only_for_a_comparison_is_refused_without_it(
    repaired: Request, style: dict[str, str], query: dict[str, str]
) -> None:
    answer = client_of(repaired.owner).get(f"/api/requests/{repaired.pk}/results.csv", style | query)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["attr"], error["code"]) == (400, next(iter(query)), "unknown_option")


def test_a_request_of_one_run_is_said_to_have_one_run(repaired: Request) -> None:
    Request.objects.filter(pk=repaired.pk).update(run=1)
    path = f"/api/requests/{repaired.pk}/results.csv"
    answer = client_of(repaired.owner).get(path, {"style": "changes", "run": "2"})
    assert [error["detail"] for error in answer.json()["errors"]] == ["The request has 1 run."]


def test_the_page_compares_two_runs(repaired: Request) -> None:
    client, path = client_of(repaired.owner), f"{repaired.get_absolute_url()}changes/"
    answer = client.get(path, {"run": "2", "against_run": "1"})
    assert dict(answer.context["changes"]) == {"New": 1, "Unchanged": 1, "Failing now": 2, "Left out": 1}
    page = answer.content.decode()
    assert "Run 2 compared with run 1." in page
    assert f"/api/requests/{repaired.pk}/results.csv?style=changes&amp;run=2&amp;against_run=1" in page
    answer = client.get(path, {"run": "1", "against_run": "2"})
    assert "changes" not in answer.context
    assert "Select a valid choice" in answer.content.decode()
    answer = client.get(path, {"run": "2", "against_run": "2"})
    assert "Choose a run before the other one." in answer.content.decode()


def test_the_page_compares_the_last_two_runs_by_default(repaired: Request) -> None:
    answer = client_of(repaired.owner).get(f"{repaired.get_absolute_url()}changes/")
    page = answer.content.decode()
    assert "Run 3 compared with run 2." in page
    assert "Nothing to compare with" not in page
    assert dict(answer.context["changes"]) == {"New": 1, "Unchanged": 2, "Failing now": 1, "Left out": 1}


def test_the_page_shows_the_first_pictures_of_each_kind(repaired: Request) -> None:
    client, path = client_of(repaired.owner), f"{repaired.get_absolute_url()}changes/"
    groups = client.get(path, {"run": "3", "against_run": "1"}).context["groups"]
    shown = [(label, count, [pair.name for pair in pairs]) for label, count, pairs in groups]
    assert shown == [("New", 2, ["second.jpg", "third.jpg"]), ("Failing now", 1, ["never.jpg"])]
    (new, _), (failing,) = (pairs for _label, _count, pairs in groups)
    picture = Image.id_for(repaired.pk, url("second"))
    assert (new.before, new.now.page) == (None, f"{repaired.get_absolute_url()}pictures/{picture}/")
    assert new.now.thumbnail and not failing.now.thumbnail


def test_a_picture_that_is_new_and_failed_leads_to_no_page_of_an_earlier_one() -> None:
    ann = make_user()
    finished(ann, kept=JPEG, broke=JPEG)
    batch = finished(ann, kept=OTHER_JPEG, broke=BROKEN, never=BROKEN)
    client = client_of(ann)
    answer = client.get(f"{batch.get_absolute_url()}changes/")
    pairs = [pair for _label, _count, pairs in answer.context["groups"] for pair in pairs]
    assert [pair.name for pair in pairs if pair.before is None] == ["never.jpg"]
    assert "None before" in answer.content.decode()
    for side in (side for pair in pairs for side in (pair.before, pair.now) if side):
        assert client.get(side.page).status_code == 200


def test_the_page_shows_only_the_first_of_many_and_none_of_large_catalogues(
    repaired: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, path = client_of(repaired.owner), f"{repaired.get_absolute_url()}changes/?run=3&against_run=1"
    monkeypatch.setattr("products.pages.changes.PICTURES_OF_A_KIND", 1)
    answer = client.get(path)
    assert [(count, len(pairs)) for _label, count, pairs in answer.context["groups"]] == [(2, 1), (1, 1)]
    assert "The first 1. Download the changes to see all." in answer.content.decode()
    monkeypatch.setattr("products.pages.changes.MAX_COUNTED_CHANGES", 9)
    assert client.get(path).context["groups"] == []
