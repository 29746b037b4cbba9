"""Measures reading a catalogue of 1,000,000 URLs (200,000 rows of 5): CPU and memory, as CSV and as XLSX.

    .venv/bin/python -m scripts.bench.reader

Each reading is a process of its own. Memory is the most it had resident, with Python and all modules.
"""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import openpyxl

from products.catalogue import Catalogue, Preview, Summary, preview, validate
from scripts.bench.catalogue import write

ROWS, URLS_PER_ROW = 200_000, 5
READINGS: dict[str, Callable[[Catalogue], Summary | Preview]] = {
    "check of an upload": validate,
    "preview": preview,
}


def main() -> None:
    if sys.argv[1:]:
        measure(Path(sys.argv[1]), sys.argv[2])
        return
    print("| file | MB | reading | CPU s | MB resident at most |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        catalogue = write(Path(directory, "catalogue.csv"), ROWS, URLS_PER_ROW)
        for path in (catalogue, as_workbook(catalogue)):
            for reading in READINGS:
                subprocess.run([sys.executable, "-m", "scripts.bench.reader", path, reading], check=True)


def measure(path: Path, reading: str) -> None:
    """Print a row of the table."""
    before = time.process_time()
    with path.open("rb") as file:
        found = READINGS[reading](Catalogue(file))
    used = time.process_time() - before
    if found.urls != ROWS * URLS_PER_ROW:
        sys.exit(f"{found.urls} URLs were found")
    # Not ru_maxrss, which begins with that of the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    resident = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    size = path.stat().st_size / 1e6
    print(f"| {path.suffix[1:].upper()} | {size:.0f} | {reading} | {used:.1f} | {resident:.0f} |", flush=True)


def as_workbook(catalogue: Path) -> Path:
    """The same cells as an XLSX beside it."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    with catalogue.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            sheet.append(row)
    path = catalogue.with_suffix(".xlsx")
    book.save(path)
    return path


if __name__ == "__main__":
    main()
