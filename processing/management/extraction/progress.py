"""The progress and the outcome of a Request in a terminal."""

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

from processing import runtime
from processing.monitoring.health import no_worker_sentence, no_worker_since
from products.models import Request
from products.models.image import WaitingHost
from products.results.failures import explain

POLL_SECONDS = 0.2
#: Seconds between two lines of progress where there is no terminal for a bar.
LINE_SECONDS = 5
#: Seconds between two queries for what is waited for, and hosts that are named.
WAITING_SECONDS = 1
MAX_WAITING_HOSTS = 3
#: Failed images that are shown of each cause.
MAX_EXAMPLES = 3


def waiting_text(host: WaitingHost) -> str:
    """Return what is waited for, how many images wait, and in how many seconds the next try is."""
    images = "1 image waits" if host.images == 1 else f"{host.images:,} images wait"
    return f"{images} for {host.host}, next try in {host.seconds:,} s"


class Progress:
    """Shows the progress of a Request on stderr: a bar in a terminal, plain lines elsewhere.

    With `follows_others` it also warns when none of the other worker processes is alive.
    """

    def __init__(self, batch: Request, *, follows_others: bool) -> None:
        self._batch = batch
        self._follows_others = follows_others
        self._warned = False
        self._printed_at = 0.0
        self._waiting, self._asked_at = "", 0.0

    def follow(self) -> None:
        """Return when the Request has finished."""
        batch = self._batch
        with tqdm(unit="img", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
            while batch.is_active:
                time.sleep(POLL_SECONDS)
                batch.refresh_from_db()
                bar.total = batch.images_total
                self._look_for_waiting()
                facts = filter(None, [f"failed={batch.images_failed}", self._waiting])
                bar.set_postfix_str("; ".join(facts), refresh=bool(self._waiting))
                bar.update(batch.images_settled - bar.n)
                if bar.disable:
                    self._print()
                if self._follows_others and batch.is_active:
                    self._warn()

    def _print(self) -> None:
        batch, now = self._batch, time.monotonic()
        if now - self._printed_at >= LINE_SECONDS or not batch.is_active:
            self._printed_at = now
            counts = (
                f"{batch.images_settled} of {batch.images_total} images done, {batch.images_failed} failed"
            )
            print(*filter(None, [counts, self._waiting]), sep="; ", file=sys.stderr, flush=True)

    def _look_for_waiting(self) -> None:
        """Name the hosts that images wait for, a second after the last time."""
        now = time.monotonic()
        if now - self._asked_at >= WAITING_SECONDS:
            self._asked_at = now
            hosts = self._batch.images.waiting_by_host() if self._batch.is_active else []
            self._waiting = "; ".join(map(waiting_text, hosts[:MAX_WAITING_HOSTS]))

    def _warn(self) -> None:
        """Warn once each time no worker is left, with the command that starts one."""
        since = no_worker_since()
        if since and not self._warned:
            command = f"python manage.py {runtime.current.worker_command}"
            advice = f"Start one with `{command}`; this command then continues by itself."
            tqdm.write(f"{no_worker_sentence(since)} {advice}", file=sys.stderr)
        self._warned = since is not None


def summary(batch: Request) -> Iterator[str]:
    """Yield lines with the outcome of a Request: counts, and each cause of failures with some examples."""
    if batch.error:
        yield batch.error
    if batch.status == Request.Status.CANCELED:
        yield "The request was canceled."
    counts = (
        f"{batch.images_completed} of {batch.images_total} images completed, {batch.images_failed} failed"
    )
    yield f"{counts}; {batch.bytes_source:,} bytes became {batch.bytes_output:,}"
    for code, count in batch.images.causes():
        yield f"  {count:,} × {code}: {explain(code).title}"
        for image in batch.images.failed().filter(error_code=code)[:MAX_EXAMPLES]:
            yield f"      {image.url}"
            yield f"      {image.error_detail}"
        if count > MAX_EXAMPLES:
            yield f"      … and {count - MAX_EXAMPLES:,} more"
