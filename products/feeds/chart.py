"""The chart of a feed's runs, as the coordinates of an SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.template.defaultfilters import filesizeformat

from products.feeds.models import FeedRun

WIDTH, HEIGHT = 600, 60
#: At most so wide is the bar of one run, with its gap.
MAX_STEP = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """The value of one run; a second part of it, such as failures, is drawn in another colour."""

    x: float
    width: float
    y: float
    height: float
    second: float
    label: str


@dataclass(frozen=True, slots=True)
class Series:
    """One row of bars."""

    title: str
    last: str  # value of the last run, with its unit
    bars: list[Bar]


def series_of(runs: Sequence[FeedRun]) -> list[Series]:
    """Return the bars of finished runs, which are in order of time: pictures, bytes and seconds."""
    return [
        _series("Pictures", runs, [(run.images, run.images_failed) for run in runs], _pictures),
        _series("Size", runs, [(run.bytes_output, 0) for run in runs], filesizeformat),
        _series("Seconds", runs, [(run.seconds_taken or 0, 0) for run in runs], "{:,.0f} s".format),
    ]


def _pictures(count: float) -> str:
    return f"{count:,.0f} picture{'' if count == 1 else 's'}"


def _series(
    title: str,
    runs: Sequence[FeedRun],
    values: Sequence[tuple[float, float]],
    with_unit: Callable[[float], str],
) -> Series:
    highest = max((value for value, _ in values), default=0) or 1
    step = min(MAX_STEP, WIDTH / max(len(runs), 1))
    bars = []
    for number, (run, (value, second)) in enumerate(zip(runs, values, strict=True)):
        height = HEIGHT * value / highest
        label = f"{run.started_at:%-d %B %Y, %H:%M} UTC, {with_unit(value)}"
        if second:
            label += f", {second:,.0f} failed"
        bars.append(
            Bar(
                x=round(number * step, 2),
                width=round(step * 0.8, 2),
                y=round(HEIGHT - height, 2),
                height=round(height, 2),
                second=round(HEIGHT * second / highest, 2),
                label=label,
            )
        )
    return Series(title, with_unit(values[-1][0]) if values else "", bars)
