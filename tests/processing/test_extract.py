"""The progress that `manage.py extract` shows, without a process of its own."""

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from processing.management.commands.extract import Command
from processing.management.extraction import progress
from products import lifecycle
from products.models import Request
from tests.support.batches import ingested, make_urls

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_waited_for_is_named_with_its_number_and_moment(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = ingested(*make_urls(3, "cdn.example"), *make_urls(1, "down.example"))
    now = timezone.now()
    for number, seconds in ((1, 60), (4, 60)):
        batch.images.filter(number=number).update(
            due_at=now + timedelta(seconds=seconds), error_code="connect"
        )
    polls = iter(range(3))

    def sleep(_seconds: float) -> None:
        if next(polls) == 2:
            lifecycle.cancel(batch)

    monkeypatch.setattr("processing.management.extraction.progress.time.sleep", sleep)
    for name in ("LINE_SECONDS", "WAITING_SECONDS"):
        monkeypatch.setattr(progress, name, 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress.Progress(batch, follows_others=False).follow()
    shown = capsys.readouterr().err
    waiting = (
        r"3 images wait for cdn\.example, next try in (60|[45]\d) s; "
        r"1 image waits for down\.example, next try in (60|[45]\d) s"
    )
    assert re.search(waiting, shown)
    assert not re.search(waiting, shown.rpartition("failed")[2])


def test_a_catalogue_that_cannot_be_read_is_not_blamed_on_the_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreadable(_batch: Request, **_form: bool) -> Iterator[bytes]:
        yield b"Serial Number"
        raise OSError("Unreadable block")

    monkeypatch.setattr("processing.management.extraction.result.result_csv", unreadable)
    monkeypatch.setattr(Command, "_run", lambda *_arguments: None)
    with pytest.raises(CommandError) as raised:
        call_command("extract", str(tmp_path / "a.csv"))
    assert str(raised.value) == "The stored catalogue cannot be read: Unreadable block"
    assert raised.value.returncode == 3
    assert not [*tmp_path.iterdir()]
