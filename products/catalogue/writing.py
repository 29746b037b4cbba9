"""The rows of a catalogue again, with what became of their pictures."""

from collections.abc import Iterator, Sequence

from products.catalogue.cells import defused, quote, raw_cells
from products.catalogue.columns import RESULT_COLUMNS
from products.catalogue.reading import Catalogue, Row
from products.catalogue.urls import replace_urls


class Writer:
    """Writes a result in the dialect of its catalogue. Cells that do not change stay byte for byte.

    After the input's own columns come those of RESULT_COLUMNS or, with `replace`, none: then the outputs
    stand in place of the URLs that they were made from. `for_excel` is UTF-8 with a byte order mark, and no
    cell is a formula.
    """

    def __init__(self, catalogue: Catalogue, *, replace: bool = False, for_excel: bool = False) -> None:
        self._catalogue = catalogue
        self._replace, self._for_excel = replace, for_excel
        header, _end = raw_cells(catalogue.header_text, catalogue.delimiter)
        self._quotes_all = all(cell.startswith('"') for cell in header)

    def start(self) -> Iterator[bytes]:
        """What precedes the rows: byte order mark, lines before the header, header."""
        catalogue = self._catalogue
        if self._for_excel:
            yield "\ufeff".encode()  # and no line like "sep=;", with which Excel takes no notice of the mark
        else:
            yield catalogue.encoding.mark
            yield from map(self.encode, catalogue.preamble())
        added = () if self._replace else RESULT_COLUMNS
        yield self.encode(self._line(catalogue.header, catalogue.header, catalogue.header_text, added))

    def row(self, row: Row, outputs: Sequence[str], status: str, error: str) -> str:
        """A row's line. `outputs` are aligned with its URLs, "" where there is none."""
        if self._replace:
            return self._line(row.cells, self._replaced(row, outputs), row.text, ())
        urls = self._catalogue.separator.join(outputs) if any(outputs) else ""
        return self._line(row.cells, row.cells, row.text, (urls, status, error))

    def encode(self, text: str) -> bytes:
        return text.encode() if self._for_excel else self._catalogue.encoding.encode(text)

    def _replaced(self, row: Row, outputs: Sequence[str]) -> list[str]:
        cells, following = list(row.cells), iter(outputs)
        for index in self._catalogue.picture_cells(cells):
            if index < len(cells):
                cells[index] = replace_urls(cells[index], following, self._catalogue.base_url)
        return cells

    def _line(self, before: list[str], after: list[str], text: str, added: Sequence[str]) -> str:
        """The line of a record that reads `text`, with other values for its cells and with `added` ones."""
        delimiter, own_width = self._catalogue.delimiter, self._catalogue.own_width
        if self._for_excel:
            after, added = [defused(value) for value in after], [defused(value) for value in added]
        if after == before and len(before) == own_width == len(self._catalogue.header):
            return self._longer(text, added)
        raw, end = raw_cells(text, delimiter)
        cells = [
            old if value == was else quote(value, delimiter, always=old.startswith('"'))
            for old, was, value in zip(raw, before, after, strict=True)
        ]
        if not self._replace:
            cells = self._fitted(cells, after)[:own_width]
            cells += self._quoted(added)
        elif own_width < len(self._catalogue.header):
            cells = cells[:own_width]
        return delimiter.join(cells) + end

    def _longer(self, text: str, added: Sequence[str]) -> str:
        """A record that reads `text`, with further cells and all others as they are."""
        without_end = text.rstrip("\r\n")
        cells = self._catalogue.delimiter.join([without_end, *self._quoted(added)])
        return cells + text[len(without_end) :]

    def _quoted(self, added: Sequence[str]) -> list[str]:
        return [quote(value, self._catalogue.delimiter, always=self._quotes_all) for value in added]

    def _fitted(self, cells: list[str], values: list[str]) -> list[str]:
        """As many cells as the header has: what spilled over is put back into the last one."""
        delimiter, width = self._catalogue.delimiter, len(self._catalogue.header)
        if len(cells) > width:
            return [*cells[: width - 1], quote(delimiter.join(values[width - 1 :]), delimiter)]
        return cells + [""] * (width - len(cells))
