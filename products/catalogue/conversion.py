"""Workbooks of other formats than XLSX (XLS, ODS), converted to rows of text by a child process.

calamine holds whole sheets in memory, blank cells included, so that a small file may take gigabytes. The
child is limited in memory, time and output; where it exceeds a limit, the file is refused.
"""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from products.catalogue.problems import refusal
from products.catalogue.xlsx import MergedCells, Sheet, SheetRow, text_of, too_large

#: Of the child, with Python in it.
MAX_MEMORY_BYTES, MAX_CPU_SECONDS, MAX_OUTPUT_BYTES = 1_000_000_000, 60, 500_000_000
#: In all, however busy the machine is.
TIMEOUT_SECONDS = 180
#: Children of this process at a time. Other conversions wait.
MAX_CHILDREN = 2
_UNREADABLE, _ENCRYPTED, _DISK_FULL = 3, 4, 5  # exit codes
_slots = threading.BoundedSemaphore(MAX_CHILDREN)


class ConvertedBook:
    """A workbook that was converted.

    Creation raises CatalogueError if the file cannot be read or takes too much, OSError where the disk of
    temporary files is full.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            with _slots:
                _convert(copy, self._rows)
        self._rows.seek(0)
        sheets = json.loads(self._rows.readline())
        self.sheets = [Sheet(name, str(index), is_visible) for index, name, is_visible in sheets]
        self._start = self._rows.tell()

    def rows(self, sheet: Sheet) -> Iterator[SheetRow]:
        """Yield the rows of a sheet that have cells."""
        position = self._start
        while True:
            self._rows.seek(position)  # another sheet may have been read in between
            line = self._rows.readline()
            if not line:
                return
            position = self._rows.tell()
            index, number, cells = json.loads(line)
            if str(index) == sheet.part:
                yield SheetRow(number, cells, {})


def _convert(source: IO[bytes], target: IO[bytes]) -> None:
    command = [sys.executable, "-m", __name__]
    # No secrets: the child reads files from anyone.
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        child = subprocess.run(  # noqa: S603 (this module)
            command,
            stdin=source,
            stdout=target,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise too_large() from error
    if child.returncode == _ENCRYPTED:
        detail = "The workbook is password-protected. Save it without a password."
        raise refusal("unsupported_workbook", detail)
    if child.returncode == _UNREADABLE:
        raise refusal("unreadable_workbook", "The workbook is damaged or of an unknown kind.")
    if child.returncode == _DISK_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if child.returncode:
        raise too_large()


def main() -> int:
    """Convert the workbook on standard input to JSON lines on standard output.

    The first has index, name and visibility of each sheet, each other one the index of a sheet, the number of
    a row from 1, and the row's cells.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    try:
        book = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        sheets = [
            (index, sheet.name, sheet.visible == SheetVisibleEnum.Visible)
            for index, sheet in enumerate(book.sheets_metadata)
            if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        print(json.dumps(sheets))
        for index, name, _visible in sheets:
            sheet = book.get_sheet_by_name(name)
            # Rows are given without the blank columns before the first.
            first_column = sheet.start[1] if sheet.start else 0
            merged = MergedCells(
                {
                    (row + 1, column - first_column): last + 1
                    for (row, column), (last, _) in sheet.merged_cell_ranges or []
                    if last > row
                }
            )
            for number, values in enumerate(sheet.iter_rows(), 1):
                cells = [text_of(value) for value in values]
                merged.fill(number, cells)
                while cells and not cells[-1].strip():
                    cells.pop()
                if cells:
                    print(json.dumps((index, number, cells)))
        sys.stdout.flush()
    except CalamineError as error:
        return _ENCRYPTED if "password" in str(error).lower() else _UNREADABLE
    except OSError as error:
        if error.errno == errno.ENOSPC:
            os._exit(_DISK_FULL)  # without another attempt to write what is buffered
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
