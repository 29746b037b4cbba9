"""XLSX workbooks: their rows as text, and the same workbook with cells changed. Both are streams."""

from products.catalogue.xlsx.book import Sheet, Xlsx
from products.catalogue.xlsx.editing import RowEdit
from products.catalogue.xlsx.package import ARCHIVE_ERRORS, MAX_TOKEN_BYTES, open_archive, too_large
from products.catalogue.xlsx.sheet import MergedCells, SheetRow
from products.catalogue.xlsx.values import text_of

__all__ = [
    "ARCHIVE_ERRORS",
    "MAX_TOKEN_BYTES",
    "MergedCells",
    "RowEdit",
    "Sheet",
    "SheetRow",
    "Xlsx",
    "open_archive",
    "text_of",
    "too_large",
]
