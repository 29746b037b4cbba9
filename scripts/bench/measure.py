"""Resources used by a process, as Linux counts them."""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """A job: its images, seconds by the clock, CPU seconds of all that worked on it, MB resident at most."""

    images: int
    seconds: float
    cpu: float
    megabytes: float


def middle(values: list[float]) -> float:
    """The median, since machines drift and stumble."""
    return median(values)


def cpu_seconds(groups: list[int]) -> float:
    """User and system time of the processes in these process groups."""
    return sum(_ticks(path) for path in _stats(groups)) / TICKS


def cpu_with_children(pid: int) -> float:
    """User and system time of a process and its children, those that have ended among them."""
    living = [path for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == pid]
    ended = map(int, _fields(Path(f"/proc/{pid}/stat"))[13:15])
    return (sum(map(_ticks, [*living, Path(f"/proc/{pid}/stat")])) + sum(ended)) / TICKS


def forget_peaks(groups: list[int]) -> None:
    """Begin to look for the most memory anew."""
    for path in _stats(groups):
        path.with_name("clear_refs").write_text("5")


def peak_megabytes(groups: list[int]) -> float:
    """The most that was resident in the largest of the processes."""
    statuses = [path.with_name("status").read_text() for path in _stats(groups)]
    return max(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6 for status in statuses)


def _stats(groups: list[int]) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/stat") if _group(path) in groups]


def _group(path: Path) -> int:
    fields = _fields(path)
    return int(fields[2]) if fields else 0


def _parent(path: Path) -> int:
    fields = _fields(path)
    return int(fields[1]) if fields else 0


def _ticks(path: Path) -> int:
    fields = _fields(path)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _fields(path: Path) -> list[str]:
    """Return the fields after the name of the process; none if it has just ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []
