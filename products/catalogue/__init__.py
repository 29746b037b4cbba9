"""Reads a catalogue as people have it: CSV or XLSX, whatever its encoding, delimiter, columns and separators.

Pure: the standard library and openpyxl only. Files are read as streams, so memory does not grow with them
(a workbook's texts excepted). What makes a file as a whole unusable raises `CatalogueError`; a bad row or
cell is a `Problem`, which `survey` and `preview` collect.
"""

from products.catalogue.columns import RESULT_COLUMNS, ColumnNames, Columns
from products.catalogue.encoding import ENCODINGS, known_encoding
from products.catalogue.preview import Preview, preview
from products.catalogue.problems import CatalogueError, Problem
from products.catalogue.reading import Catalogue, Reading, Row, read_header
from products.catalogue.survey import FIRST_PROBLEMS, Summary, survey
from products.catalogue.table import MAX_ROW
from products.catalogue.urls import check_base_url, host_of, split_urls, url_problem
from products.catalogue.writing import Writer

__all__ = [
    "ENCODINGS",
    "FIRST_PROBLEMS",
    "MAX_ROW",
    "RESULT_COLUMNS",
    "Catalogue",
    "CatalogueError",
    "ColumnNames",
    "Columns",
    "Preview",
    "Problem",
    "Reading",
    "Row",
    "Summary",
    "Writer",
    "check_base_url",
    "host_of",
    "known_encoding",
    "preview",
    "read_header",
    "split_urls",
    "survey",
    "url_problem",
]
