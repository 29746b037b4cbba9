#!/usr/bin/env python3
"""Measures reading a catalogue of 1,000,000 URLs (200,000 rows of 5): CPU and memory, as CSV and as XLSX.

    .venv/bin/python scripts/bench_reader.py

Each reading is a process of its own. Memory is the most it had resident, with Python and all modules.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openpyxl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from products.catalogue import Catalogue, Preview, Summary, preview, survey

ROWS, URLS_PER_ROW = 200_000, 5
HEADER = ["Serial Number", "Product Name", "Input Image Urls"]
READINGS: dict[str, Callable[[Catalogue], Summary | Preview]] = {
    "check of an upload": survey,
    "preview": preview,
}


def main() -> None:
    if sys.argv[1:]:
        measure(Path(sys.argv[1]), sys.argv[2])
        return
    print("| file | MB | reading | CPU s | MB resident at most |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for path in (Path(directory, "catalogue.csv"), Path(directory, "catalogue.xlsx")):
            write(path)
            for reading in READINGS:
                subprocess.run([sys.executable, __file__, path, reading], check=True)


def measure(path: Path, reading: str) -> None:
    """Print a row of the table."""
    before = time.process_time()
    with path.open("rb") as file:
        found = READINGS[reading](Catalogue(file))
    used = time.process_time() - before
    if found.urls != ROWS * URLS_PER_ROW:
        sys.exit(f"bench_reader: {found.urls} URLs were found")
    # Not ru_maxrss, which begins with that of the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    resident = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    size = path.stat().st_size / 1e6
    print(f"| {path.suffix[1:].upper()} | {size:.0f} | {reading} | {used:.1f} | {resident:.0f} |", flush=True)


def write(path: Path) -> None:
    if path.suffix == ".csv":
        lines = (f'{serial},{name},"{urls}"\n' for serial, name, urls in rows())
        with path.open("w", encoding="utf-8") as file:
            file.write(",".join(HEADER) + "\n")
            file.writelines(lines)
        return
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(HEADER)
    for row in rows():
        sheet.append(row)
    book.save(path)


def rows() -> Iterator[tuple[int, str, str]]:
    for number in range(ROWS):
        urls = (f"https://cdn.example.com/pictures/{number}/{place}.jpg" for place in range(URLS_PER_ROW))
        yield number, f"Product {number}", ", ".join(urls)


if __name__ == "__main__":
    main()
