"""Whether a workbook can be unpacked: a small ZIP can hold what takes all memory.

openpyxl keeps the elements of a row or text until it ends, and something of every row and text for good. So
large parts are counted through before it sees them.
"""

import zipfile
from typing import IO
from xml.parsers import expat

from products.catalogue.problems import CatalogueError, refusal

#: Bytes of all parts together; of one that is not looked into.
MAX_UNPACKED = 500_000_000
MAX_UNSEEN = 5_000_000
#: Rows of a sheet, or shared texts. Excel has at most 1,048,576 rows.
MAX_GROUPS = 2_000_000
#: Elements of one of these: three for a cell, of which Excel has at most 16,384 in a row.
MAX_ELEMENTS = 100_000


def check_unpacked(file: IO[bytes]) -> None:
    """Raises CatalogueError where the workbook is too large once unpacked. zipfile raises what it raises."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        # What a part says of its size is true enough: zipfile does not read on after that.
        if sum(part.file_size for part in parts) > MAX_UNPACKED:
            raise too_large()
        for part in parts:
            if part.file_size > MAX_UNSEEN:
                with archive.open(part) as source:
                    _count(source)


def too_large() -> CatalogueError:
    """The error of a workbook that would take too much memory or time."""
    detail = "The Excel workbook is too large once unpacked: please save it as CSV."
    return refusal("workbook_too_large", detail)


def _count(source: IO[bytes]) -> None:
    groups = elements = 0

    def start(name: str, _attributes: object) -> None:
        nonlocal groups, elements
        elements += 1
        if name.rpartition(":")[2] in {"row", "si"}:
            groups, elements = groups + 1, 0
        if groups > MAX_GROUPS or elements > MAX_ELEMENTS:
            raise too_large()

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        parser.ParseFile(source)
    except expat.ExpatError:
        return  # a picture, or else openpyxl will meet the same error
