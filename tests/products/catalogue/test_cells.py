"""Records split into raw cells and cells quoted again, compared with the csv module."""

import csv
import io
import itertools
import re

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


SIGNS = ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "−"]
#: Blanks and characters without a picture that one program or another skips at the beginning of a cell.
SKIPPED = [
    *(" ", "   ", "\u00a0", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u3000", "\u3164", "\u034f"),
    *("\u180e", "\u202e", "\u2066", "\u2800", "\ufe0f", "\U000e0020", "\x00", "\x7f", "\u200b \u00a0", '"'),
]
#: Excel, LibreOffice and Google Sheets offer these, or any other character in their place.
DELIMITERS = [",", ";", "\t", "|", ":", "^", "~", " "]
QUOTE = '"'


def opened(text: str, delimiter: str) -> list[str]:
    """Return the cells of a CSV file as a spreadsheet opens it with this delimiter.

    As in Excel, quotes protect what is between them only where they begin a cell.
    """
    return [cell for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in line]


def is_formula(cell: str) -> bool:
    """Return whether a program that skips whatever any of them skips would run this cell."""
    seen = cell.lstrip("".join([*SKIPPED, "\t\r\n"]))
    is_number = re.fullmatch(r"[+-]?[\d.,]+(e[+-]?\d+)?%?", seen.strip()) is not None
    return seen[:1] in SIGNS and len(seen.strip()) > 1 and not is_number


@pytest.mark.parametrize(
    "cell", ["=1", "+a", "-a", "@a", "\ta", "\ra", "\na", "＝1", "-1+1", "+1 2", "-", "=", "--1"]
)
def test_what_a_spreadsheet_would_take_for_a_formula_is_escaped(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize("skipped", ["", *SKIPPED], ids=ascii)
@pytest.mark.parametrize("sign", SIGNS)
def test_nothing_that_a_program_skips_hides_a_formula(sign: str, skipped: str) -> None:
    assert escape_formula(f"{skipped}{sign}A1*2") == f"{skipped}'{sign}A1*2"
    for delimiter in DELIMITERS:
        cell = f"Chair{delimiter}{skipped}{sign}A1{delimiter}white"
        assert escape_formula(cell) == f"Chair{delimiter}{skipped}'{sign}A1{delimiter}white"


@pytest.mark.parametrize("written", [",", ";", "\t", "|"], ids=ascii)
@pytest.mark.parametrize("delimiter", DELIMITERS, ids=ascii)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=ascii)
def test_no_cell_is_a_formula_by_whatever_delimiter_the_file_is_opened(
    written: str, delimiter: str, end: str
) -> None:
    for sign in "=+-@＝":
        for payload in ("A1*2", "HYPERLINK(A1)", "1+1", "cmd|'/c'!A0"):
            for skipped in ("", " ", "\u200b", QUOTE):
                before = f"a{end}{delimiter}{skipped}"
                value = f"{before}{sign}{payload}{delimiter}{QUOTE}z"
                cells = [escape_formula(one) for one in ("1", value, value)]
                text = written.join(quote_cell(cell, written) for cell in cells) + "\r\n"
                assert not [cell for cell in opened(text, delimiter) if is_formula(cell)], ascii(text)


@pytest.mark.parametrize(
    "cell",
    [
        *("", "a", "1", "-1", "+1.5", "-1,5", "-1.234,50", "-.5", "-1e5", "-3%", " -1", "-1 ", "a=b"),
        *(
            "Chair - white",
            "T-shirt",
            "Tel. +43 1 234",
            "A; -5",
            "5, -3.5",
            "https://a.example/b.jpg?w=1&h=-1",
        ),
        *("https://a.example/a.jpg,https://a.example/b.jpg", "x@y.example", "1=1", "a\u200d=b", "Ratio: 1"),
    ],
)
def test_other_cells_are_not_escaped(cell: str) -> None:
    assert escape_formula(cell) == cell
