"""Records split into raw cells and cells quoted again, compared with the csv module."""

import csv
import itertools

import pytest

from products.catalogue import escape_formula, quote_cell
from products.catalogue.records import raw_cells

PIECES = ['"', '""', "a", ",", ";", "\n", " "]


def csv_cells(text: str) -> list[str] | None:
    """Return the cells that the csv module finds; None if the text is not exactly one record."""
    try:
        first, *others = csv.reader([text, "end"])
    except csv.Error:
        return None
    return first if others == [["end"]] else None


def test_cells_are_those_that_the_csv_module_finds_and_together_are_the_record() -> None:
    compared = 0
    for pieces in itertools.product(PIECES, repeat=6):
        text = "".join(pieces) + "\r\n"
        values = csv_cells(text)
        if values is not None and not text.endswith("\n\r\n"):  # no record ends twice
            cells, end = raw_cells(text, ",")
            assert (",".join(cells) + end, end) == (text, "\r\n")
            assert [csv_cells(f"{cell},x") for cell in cells] == [[value, "x"] for value in values]
            compared += 1
    assert compared > 10_000


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_breaks(delimiter: str) -> None:
    values = ["", 'a"b', f"a{delimiter}b", "two\r\nlines", "plain", '"']
    text = delimiter.join(quote_cell(value, delimiter) for value in values) + "\n"
    cells, end = raw_cells(text, delimiter)
    assert (delimiter.join(cells) + end, end) == (text, "\n")
    assert next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter)) == values
    assert len(cells) == len(values)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", ""])
def test_the_line_end_is_as_it_stands_in_the_file(end: str) -> None:
    assert raw_cells(f'a,"b",{end}', ",") == (["a", '"b"', ""], end)


def test_quotes_are_put_where_they_have_to_be_or_everywhere() -> None:
    assert [quote_cell(value, ";") for value in ["a", "a,b", "a;b", 'a"b', "a\nb", "", " a "]] == [
        *("a", "a,b", '"a;b"', '"a""b"', '"a\nb"', "", " a "),
    ]
    assert quote_cell("a", ",", always=True) == '"a"'


@pytest.mark.parametrize(
    "cell", ["=1", "+a", "-a", "@a", "\ta", "\ra", "＝1", "-1+1", "+1 2", "-", "=", "--1"]
)
def test_what_a_spreadsheet_would_take_for_a_formula_is_escaped(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell", ["", "a", "1", "-1", "+1.5", "-1,5", "-1.234,50", "-.5", "-1e5", "-3%", "a=b", " =1"]
)
def test_other_cells_are_not_escaped(cell: str) -> None:
    assert escape_formula(cell) == cell
