"""Changes since an earlier Request: in the API and on the page."""

import csv
import io
import uuid
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from products import lifecycle
from products.models import Request
from tests.support.factories import (
    JPEG,
    OTHER_JPEG,
    client_of,
    download,
    ingest,
    make_csv,
    make_user,
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


def test_compared_is_with_the_latest_earlier_result_of_the_same_owner_and_file_name() -> None:
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
    assert "Changes" not in client.get(before.get_absolute_url()).content.decode()
    batch = finished(ann, same=JPEG, other=OTHER_JPEG, added=JPEG, broken=BROKEN)
    answer = client.get(batch.get_absolute_url())
    counts = {"New": 1, "Changed": 1, "Unchanged": 1, "Gone": 1, "Failing now": 1}
    assert dict(answer.context["changes"]) == counts
    page = answer.content.decode()
    assert all(f"<dt>{label}</dt><dd>1</dd>" in page for label in counts)
    assert before.get_absolute_url() in page


def test_what_has_changed_is_counted_for_no_search_and_no_further_rows() -> None:
    ann = make_user()
    client = client_of(ann)
    finished(ann, a=JPEG)
    path = finished(ann, a=JPEG).get_absolute_url()
    assert "changes" in client.get(path).context
    for query in ("?q=a", "?status=completed", "?row=1", "?after=1"):
        assert "changes" not in client.get(path + query).context, query


def test_a_page_of_a_request_under_way_counts_nothing() -> None:
    ann = make_user()
    finished(ann, a=JPEG)
    batch = ingest(submit(ann, make_csv((1, "Lamp", url("a")))))
    assert "changes" not in client_of(ann).get(batch.get_absolute_url()).context
