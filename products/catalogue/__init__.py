"""Reads a catalogue as people have it: encoding, delimiter, header names, several URLs in a cell.

Pure: the standard library only. Files are read as streams, so memory does not grow with them. What makes
a file as a whole unusable raises `CatalogueError`; a bad row or cell is a `Problem`, which `survey` collects.
"""

from products.catalogue.columns import RESULT_COLUMNS, Columns
from products.catalogue.problems import CatalogueError, Problem
from products.catalogue.reading import Catalogue, Row
from products.catalogue.survey import FIRST_PROBLEMS, Summary, survey
from products.catalogue.table import MAX_ROW
from products.catalogue.urls import split_urls, url_problem

__all__ = [
    "FIRST_PROBLEMS",
    "MAX_ROW",
    "RESULT_COLUMNS",
    "Catalogue",
    "CatalogueError",
    "Columns",
    "Problem",
    "Row",
    "Summary",
    "split_urls",
    "survey",
    "url_problem",
]
