"""Any file uploaded as a catalogue is either read correctly or refused."""

import csv
import io
import zipfile
from itertools import pairwise

from hypothesis import example
from hypothesis import strategies as st

from products.catalogue import (
    Catalogue,
    CatalogueError,
    Row,
    WorkbookWriter,
    Writer,
    known_encoding,
    preview,
    split_urls,
    url_problem,
    validate,
)
from products.catalogue.picture_cells import _pieces, cell_warnings, replace_urls
from products.catalogue.reading import _is_total
from products.catalogue.records import readable
from tests.support.effort import fuzz
from tests.support.factories import URL, make_csv, make_workbook

GOOD = make_csv(
    (1, "Chair", f"{URL}, https://cdn.example/w_300,h_200/b.jpg"),
    (2, 'A "quoted"\nTäble', f"{URL}|//cdn.example/c.jpg"),
    (3, "Lamp", ""),
)
HEADER = "Serial Number{0}Product Name{0}Input Image Urls"
# Characters that mean something to a reader of CSV, of URLs, or of encodings; and some that do not.
SPECIAL = ",;\t|\"'\r\n \x0b\x0c\x1c\x85\u2028\ufeff\xa0=@:/?#%.\\\x00\x1a€ßž\U0001f600"
texts = st.text(st.sampled_from(SPECIAL) | st.sampled_from("ab1") | st.characters())
# What a CSV can hold whatever its encoding: no control characters, no lone surrogates.
cells = st.text(st.sampled_from(' ,;|"\n€ßab') | st.characters(max_codepoint=0xFF, exclude_categories=["C"]))
encodings = st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "gbk", "mac-roman"])
edits = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.binary(max_size=12)), max_size=8)


def edited(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Apply changes to the data, each an offset, the number of bytes to remove there, and bytes to insert."""
    for place, length, bytes_ in changes:
        data = data[:place] + bytes_ + data[place + length :]
    return data


def read(data: bytes, encoding: str = "") -> list[Row] | None:
    """Return the rows, or None if the file is refused with reasons."""
    try:
        catalogue = Catalogue(io.BytesIO(data), encoding=encoding)
        rows = list(catalogue)
    except CatalogueError as error:
        assert error.problems
        assert all(problem.code and problem.detail for problem in error.problems)
        return None
    width = max(len(catalogue.header), *(len(row.cells) for row in rows), 0)
    assert max(catalogue.columns.images) < len(catalogue.header) <= width
    return rows


def check(data: bytes) -> None:
    """Read the data in every way and check that the results agree."""
    rows = read(data)
    try:
        summary = validate(Catalogue(io.BytesIO(data)))
    except CatalogueError:
        assert not rows
        return
    assert rows is not None
    assert summary.rows == len(rows)
    assert summary.urls == sum(len(row.image_urls) for row in rows)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(one.line < two.line for one, two in pairwise(rows))
    assert summary.problem_count >= len(summary.problems)
    shown = preview(Catalogue(io.BytesIO(data)))
    assert (shown.rows, shown.urls, shown.first_rows) == (summary.rows, summary.urls, rows[:20])
    assert rewritten(data) == data


def rewritten(data: bytes) -> bytes:
    """Return the result that replaces URLs by outputs, for no outputs: the file itself."""
    catalogue = Catalogue(io.BytesIO(data))
    if catalogue.input_width < len(catalogue.header) or catalogue.kind != "csv":
        return data  # the columns of an earlier result are left out; the result of other files is CSV
    writer = Writer(catalogue, replace=True)
    lines = [
        part if isinstance(part, str) else writer.row(part, [""] * len(part.image_urls), "", "")
        for part in catalogue.parts()
    ]
    return b"".join(writer.start()) + writer.encode("".join(lines))


@fuzz(data=st.binary())
@example(data=b"")
@example(data=b"\xff\xfe")
def test_any_bytes(data: bytes) -> None:
    check(data)


@fuzz(changes=edits)
def test_a_catalogue_with_damage(changes: list[tuple[int, int, bytes]]) -> None:
    check(edited(GOOD, changes))


@fuzz(text=texts, delimiter=st.sampled_from(",;\t|"), encoding=encodings)
def test_any_text_below_a_header(text: str, delimiter: str, encoding: str) -> None:
    check(f"{HEADER.format(delimiter)}\n{text}".encode(encoding, "replace"))


@fuzz(text=texts, encoding=encodings)
def test_any_text(text: str, encoding: str) -> None:
    check(text.encode(encoding, "replace"))


@fuzz(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3)),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
)
def test_what_was_written_is_read(
    rows: list[list[str]], delimiter: str, quoting: int, line_end: str, encoding: str
) -> None:
    rows = [[cell.encode("cp1252", "replace").decode("cp1252") for cell in row] for row in rows]
    header = HEADER.format("\n").splitlines()
    # Repeated headers and sums are no products, nor is a second header in front of all of them.
    rows = [row for row in rows if any(map(str.strip, row)) and row != header and not _is_total(row)]
    data = make_csv(
        ["first", "", ""],
        *rows,
        ["last", "", ""],
        header=header,
        delimiter=delimiter,
        quoting=quoting,
        lineterminator=line_end,
    )
    # What is written in cp1252 may be UTF-8 by chance, so the encoding is given.
    found = read(data.decode().encode(encoding), known_encoding(encoding))
    assert found is not None
    assert [row.cells for row in found[1:-1]] == rows


# What markup consists of.
MARKUP = ["[", "]", "{", "}", "<", ">", "(", ")", "!", "&amp;", "\\/", "<img src=", "<br>", "//", "https://a"]
markup = st.lists(st.sampled_from(MARKUP) | st.sampled_from(list(SPECIAL))).map("".join)


@fuzz(cell=texts | markup)
def test_urls_of_a_cell_are_pieces_of_it_in_order(cell: str) -> None:
    place = 0
    for piece in _pieces(cell, ""):
        assert piece
        place = cell.index(piece, place) + len(piece)
    assert replace_urls(cell, iter([""] * len(cell))) == cell
    assert len(split_urls(cell)) == len(_pieces(cell, ""))
    for url in split_urls(cell):
        problem = url_problem(url)
        assert problem is None or problem.endswith(".")
    assert all(code and detail for _url, code, detail in cell_warnings(cell))


plain_urls = st.from_regex(r"https?://[a-z]{1,8}\.example/[a-z0-9,;._~=&?-]{0,20}[a-z0-9]", fullmatch=True)


@fuzz(
    urls=st.lists(plain_urls, min_size=1),
    separator=st.sampled_from([",", ", ", ";", "|", "\n", " | ", " ", "\t"]),
)
def test_urls_that_were_joined_are_split(urls: list[str], separator: str) -> None:
    assert split_urls(separator.join(urls)) == urls


PARTS = ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml", "xl/styles.xml"]
WORKBOOK = make_workbook(
    ["Serial Number", "Product Name", "Input Image Urls"],
    [1, "Chair", URL],
    [2, "Table", f"{URL}?2 {URL}?3"],
    [3, '=HYPERLINK("https://cdn.example/c.jpg","c")', "front"],
)


@fuzz(names=st.lists(texts, min_size=3, max_size=3), replace=st.booleans())
def test_a_workbook_with_any_results_is_read_as_it_was_written(names: list[str], replace: bool) -> None:
    catalogue = Catalogue(io.BytesIO(WORKBOOK))
    writer = WorkbookWriter(catalogue, replace=replace)
    rows = list(catalogue)
    results = zip(rows, names, strict=True)
    edits = [writer.row(row, [f"{URL}?new"] * len(row.image_urls), "done", name) for row, name in results]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for _block in writer.write(archive, iter([writer.header(), *edits])):
            pass
    written = list(Catalogue(file))
    for before, after, name in zip(rows, written, names, strict=True):
        assert after.cells[:2] == before.cells[:2]
        if replace:
            assert after.image_urls == [f"{URL}?new"] * len(before.image_urls)
        else:
            assert after.cells[2:5] == [
                before.cells[2],
                " ".join([f"{URL}?new"] * len(before.image_urls)),
                "done",
            ]
            assert after.cells[5:] == ([readable(name)] if name.strip() else [""])


@fuzz(part=st.sampled_from(PARTS), changes=edits)
def test_a_workbook_with_damage(part: str, changes: list[tuple[int, int, bytes]]) -> None:
    source = zipfile.ZipFile(io.BytesIO(WORKBOOK))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, edited(data, changes) if name == part else data)
    read(file.getvalue())
