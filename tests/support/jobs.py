"""A job of hundreds of pictures, what has to be true of it after any fault, and what the fault has cost."""

import csv
import hashlib
import io
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx
import psycopg
from PIL import ImageChops, ImageStat

from tests.support.origin import Answer, Origin, Route
from tests.support.pictures import decoded, photo_jpeg
from tests.support.stack import Cluster, Deployment, Embedded, wait_for

PICTURES = 600  # of one row each: more than the first chunk of an ingest
SIZE = (60, 40)
HEADER = ["Serial Number", "Product Name", "Input Image Urls"]
NOBODY = "http://nobody.invalid/"
FINISHED = {"completed", "completed_with_errors", "failed", "canceled"}

# What has taken effect is written down by the database itself: the settling of each Image and the finish of
# each Request, as often as they happen.
POSTGRES_WITNESS = """
    CREATE TABLE effects (kind text, id uuid);
    CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO effects VALUES (TG_ARGV[0], NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER settled AFTER UPDATE ON products_image FOR EACH ROW
        WHEN (OLD.status = 'pending' AND NEW.status <> 'pending') EXECUTE FUNCTION witness('settled');
    CREATE TRIGGER finished AFTER UPDATE ON products_request FOR EACH ROW
        WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION witness('finished');
"""
SQLITE_WITNESS = """
    CREATE TABLE effects (kind text, id text);
    CREATE TRIGGER settled AFTER UPDATE ON products_image
        WHEN OLD.status = 'pending' AND NEW.status <> 'pending'
        BEGIN INSERT INTO effects VALUES ('settled', NEW.id); END;
    CREATE TRIGGER finished AFTER UPDATE ON products_request
        WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
        BEGIN INSERT INTO effects VALUES ('finished', NEW.id); END;
"""


def watch(deployment: Deployment) -> None:
    """Let the deployment's database count effects from now on."""
    if isinstance(deployment, Cluster):
        with psycopg.connect(deployment.environment["DATABASE_URL"]) as connection:
            connection.execute(POSTGRES_WITNESS)
    elif isinstance(deployment, Embedded):
        with closing(sqlite3.connect(deployment.directory / "db.sqlite3", timeout=60)) as database:
            database.executescript(SQLITE_WITNESS)


@cache
def picture(number: int) -> bytes:
    """The source of the picture with this number; no two are the same."""
    return photo_jpeg(*SIZE, seed=number)


def slow_answer(number: int) -> Answer:
    """The picture after 80 to 250 ms, so that a job lasts long enough to be struck."""
    return Answer(picture(number), delay=0.08 + number % 11 / 60)


def make_rows(
    origin: Origin,
    route: Callable[[int], Route] = slow_answer,
    *,
    pictures: int = PICTURES,
    rows_per_picture: int = 1,
) -> list[list[str]]:
    """The rows of a catalogue whose pictures `origin` answers by `route`."""
    rows = []
    for number in range(pictures):
        url = origin.add(f"/{number}.jpg", route(number))
        rows += [[f"SN-{number}-{k}", f"Lamp “{number}”", url] for k in range(rows_per_picture)]
    return rows


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode()


def upload(client: httpx.Client, rows: list[list[str]], key: str | None = None) -> httpx.Response:
    """Upload a catalogue of which nobody wants to hear: the deliveries that are written are what counts."""
    headers = {"Idempotency-Key": key} if key else {}
    files, data = {"file": ("lamps.csv", as_csv(rows))}, {"webhook_url": NOBODY}
    return client.post("/api/requests/", files=files, data=data, headers=headers)


@dataclass
class Job:
    """One Request in a deployment, and the rows that it came from."""

    deployment: Deployment
    client: httpx.Client
    origin: Origin
    rows: list[list[str]]
    id: str = ""

    def submit(self) -> Self:
        answer = upload(self.client, self.rows)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        return self

    def another(self, query: str, pictures: int = PICTURES) -> "Job":
        """Return a job with the first `pictures` pictures under other URLs, not yet submitted."""
        return replace(self, rows=[[*row[:2], row[2] + query] for row in self.rows[:pictures]], id="")

    def images(self, what: str, where: str = "TRUE") -> list[Any]:
        """Rows of SQL about the Request's Images."""
        key = self.id.replace("-", "")
        statement = f"SELECT {what} FROM products_image WHERE request_id = '{key}' AND {where}"  # noqa: S608
        return self.deployment.query(statement)

    def count(self, where: str) -> int:
        """Return the number of its Images for which this SQL condition holds."""
        return int(self.images("count(*)", where)[0][0])

    def fields(self, *names: str) -> tuple[Any, ...]:
        """Columns of the Request's row."""
        key = self.id.replace("-", "")
        statement = f"SELECT {', '.join(names)} FROM products_request WHERE id = '{key}'"  # noqa: S608
        return tuple(self.deployment.query(statement)[0])

    def pending_and_in_hand(self) -> tuple[int, int]:
        """Return the numbers of pending Images and of claimed ones."""
        (counts,) = self.images("count(*), count(claimed_by)", "status = 'pending'")
        return int(counts[0]), int(counts[1])

    def in_hand(self) -> int:
        """Wait until workers hold Images of it, and return their number."""
        return wait_for(lambda: self.pending_and_in_hand()[1], "images are in hand")

    def wait_until_under_way(self, done: int, pending: int) -> None:
        """Return when so many pictures are done, so many are not, and some of these are in hand."""

        def under_way() -> bool:
            waiting, in_hand = self.pending_and_in_hand()
            return self.count("status <> 'pending'") >= done and waiting >= pending and in_hand > 0

        wait_for(under_way, "the job is under way")

    def wait_until_finished(self, seconds: float) -> None:
        wait_for(lambda: self.fields("status")[0] in FINISHED, "the job finishes", seconds)

    def seconds_to_settle(self, where: str = "TRUE") -> float:
        """From the upload until the last of its Images that are so had its outcome."""
        ((settled_at,),) = self.images("max(settled_at)", where)
        moments = [datetime.fromisoformat(str(moment)) for moment in (settled_at, *self.fields("created_at"))]
        last, first = (moment.replace(tzinfo=moment.tzinfo or UTC) for moment in moments)
        return (last - first).total_seconds()

    def refetched(self) -> int:
        """Return the number of repeated requests for pictures."""
        ours = {row[2].removeprefix(self.origin.url("")) for row in self.rows}
        return sum(request.target in ours for request in self.origin.received) - len(ours)


def problems(deployment: Deployment) -> set[str]:
    """Return the failed checks of /readyz."""
    with deployment.client() as client:
        answer = client.get("/readyz")
    assert (answer.status_code == 200) == (answer.json()["status"] == "ok")
    return set(answer.json()) - {"status"}


def assert_intact(job: Job, failed: Mapping[str, str] | None = None) -> None:
    """Everything that has to be true of a finished job; `failed` are URLs with the code they failed with."""
    failed = failed or {}
    urls = {row[2] for row in job.rows}
    assert_settled_once(job, urls, failed)
    assert_counters(job, len(urls), len(failed))
    result = read_result(job)
    assert result[0] == [*HEADER, "Output Image Urls", "Status", "Error"]
    assert [row[:3] for row in result[1:]] == job.rows
    outputs = read_zip(job)
    for row in result[1:]:
        serial, _, url, output, status, _error = row
        if url in failed:
            assert (output, status) == ("", "failed")
        else:
            assert status == "completed"
            assert_output(outputs[f"{serial}-1.jpg"], output, int(PurePath(urlsplit(url).path).stem))
    assert httpx.get(next(row[3] for row in result[1:] if row[3])).status_code == 200


def assert_settled_once(job: Job, urls: set[str], failed: Mapping[str, str]) -> None:
    """Each Image has one outcome, the right one, and got it once; the Request has finished once."""
    images = job.images("url, status, error_code, claimed_by, output_key")
    assert {row[0] for row in images} == urls and len(images) == len(urls)
    for url, status, code, claimed_by, key in images:
        expected = ("failed", failed[url]) if url in failed else ("completed", "")
        assert (status, code) == expected
        assert claimed_by is None
        assert bool(key) == (status == "completed")
    ours = {str(row[0]).replace("-", "") for row in job.images("id")}
    effects = [(kind, str(id).replace("-", "")) for kind, id in job.deployment.query("SELECT * FROM effects")]
    assert sorted(id for kind, id in effects if kind == "settled" and id in ours) == sorted(ours)
    key = job.id.replace("-", "")
    assert effects.count(("finished", key)) == 1
    told = f"SELECT event, run FROM webhooks_webhookdelivery WHERE request_id = '{key}'"  # noqa: S608
    asked = f"SELECT id FROM webhooks_webhookendpoint WHERE request_id = '{key}'"  # noqa: S608
    assert job.deployment.query(told) == [("request.completed", 1)] * len(job.deployment.query(asked))


def assert_counters(job: Job, total: int, failed: int) -> None:
    """The Request's counters are what there is to count, and the API says the same."""
    columns = [f"images_{name}" for name in ("total", "completed", "failed", "canceled")]
    assert job.fields(*columns) == (total, total - failed, failed, 0)
    (sums,) = job.images("sum(source_bytes), sum(output_bytes)", "status = 'completed'")
    assert job.fields("bytes_source", "bytes_output") == tuple(sums)
    assert job.fields("run", "ingested_rows", "sweep") == (1, len(job.rows), "")
    state = job.client.get(f"/api/requests/{job.id}/").raise_for_status().json()
    assert state["status"] == ("completed_with_errors" if failed else "completed")
    assert state["finished_at"] is not None and state["started_at"] < state["finished_at"]
    assert state["images"]["pending"] == 0
    assert state["images"]["completed"] == total - failed


def read_result(job: Job) -> list[list[str]]:
    answer = job.client.get(f"/api/requests/{job.id}/results.csv").raise_for_status()
    return list(csv.reader(io.StringIO(answer.text, newline="")))


def read_zip(job: Job) -> dict[str, bytes]:
    """The outputs, as the deployment hands them out."""
    answer = job.client.get(f"/api/requests/{job.id}/images.zip").raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def assert_output(data: bytes, url: str, number: int) -> None:
    """The file is what its name says, opens, and shows the picture it was made of."""
    assert PurePath(url).stem == hashlib.sha256(data).hexdigest()[:40]
    output = decoded(data)
    assert (output.format, output.size) == ("JPEG", SIZE)
    difference = ImageChops.difference(output, decoded(picture(number)))
    assert max(ImageStat.Stat(difference).mean) < 12


class Cost(NamedTuple):
    """The cost of a fault for a job."""

    fault: str
    images: int
    fetched_again: int
    seconds: float


def as_table(costs: Iterable[Cost]) -> Iterator[str]:
    """The lines of a table for people."""
    yield f"{'fault':<60} {'images':>6} {'fetched again':>13} {'seconds':>7}"
    for fault, images, again, seconds in costs:
        yield f"{fault:<60} {images:>6,} {again:>13,} {seconds:>7.1f}"


@dataclass
class Report:
    """Strikes jobs and hands on what that has cost them."""

    add: Callable[[Cost], None]

    @contextmanager
    def fault(
        self,
        name: str,
        job: Job,
        *,
        done: int = 30,
        pending: int = 180,
        failed: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """Strike a job: the block, entered when the job is under way, does. Leaves when all is well again."""
        job.wait_until_under_way(done, pending)
        struck_at = datetime.now(UTC)
        yield
        self.outlived(name, job, struck_at, failed)

    def outlived(
        self, name: str, job: Job, struck_at: datetime, failed: Mapping[str, str] | None = None
    ) -> None:
        """Wait until a job that was struck has finished, see that all is well, and note what it has cost."""
        job.wait_until_finished(seconds=600)
        assert_intact(job, failed)
        state = job.client.get(f"/api/requests/{job.id}/").json()
        took = datetime.fromisoformat(state["finished_at"]) - struck_at
        self.add(Cost(name, job.count("TRUE"), job.refetched(), took.total_seconds()))
