"""Reads product catalogues with any encoding, delimiter and column names, and writes results.

CSV, XLSX, XML and JSON are streamed, so memory does not grow with their size but for the shared strings of a
workbook. XLS and ODS are converted by a child process. A file that cannot be used raises `CatalogueError`; a
bad row or cell is a `Problem` in the report of `validate` or `preview`.
"""

from products.catalogue.columns import ColumnNames, Columns, hash_of_header
from products.catalogue.encoding import ENCODINGS, UNKNOWN_ENCODING, Encoding, known_encoding
from products.catalogue.inspection import FIRST_PROBLEMS, Preview, Summary, preview, validate
from products.catalogue.picture_archive import (
    ARCHIVE_HOST,
    ARCHIVE_URL,
    ArchivedPictureError,
    PictureArchive,
    is_in_archive,
    is_picture_archive,
    server_of,
)
from products.catalogue.picture_cells import split_urls
from products.catalogue.picture_urls import MAX_URL, check_base_url, host_of, url_problem
from products.catalogue.problems import CatalogueError, Problem, size_text
from products.catalogue.reading import MAX_COLUMNS, Catalogue, Head, Reading, Row, read_head
from products.catalogue.records import quote_cell
from products.catalogue.writing import WorkbookWriter, Writer, escape_formula

__all__ = [
    "ARCHIVE_HOST",
    "ARCHIVE_URL",
    "ENCODINGS",
    "FIRST_PROBLEMS",
    "MAX_COLUMNS",
    "MAX_URL",
    "UNKNOWN_ENCODING",
    "ArchivedPictureError",
    "Catalogue",
    "CatalogueError",
    "ColumnNames",
    "Columns",
    "Encoding",
    "Head",
    "PictureArchive",
    "Preview",
    "Problem",
    "Reading",
    "Row",
    "Summary",
    "WorkbookWriter",
    "Writer",
    "check_base_url",
    "escape_formula",
    "hash_of_header",
    "host_of",
    "is_in_archive",
    "is_picture_archive",
    "known_encoding",
    "preview",
    "quote_cell",
    "read_head",
    "server_of",
    "size_text",
    "split_urls",
    "url_problem",
    "validate",
]
