"""The result of a workbook as a workbook."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from zipfile import ZIP_DEFLATED, ZipFile

from products.catalogue import Catalogue, Row, WorkbookWriter
from products.models import Request
from products.models.files import storage_checked
from products.results.result_csv import rendition_names, result_cells, rows_with_results
from products.results.zip_archive import ZipBuffer

PIECE_BYTES = 65_536


def result_xlsx(batch: Request, *, replace: bool = False) -> Iterator[bytes] | None:
    """Yield the workbook again with the result as in `result_csv`; None if the catalogue is no XLSX."""
    # Opened here and not in the generator, so that an error is raised before the response has begun.
    with ExitStack() as until_returned:
        until_returned.callback(batch.source.close)
        with storage_checked():
            catalogue = Catalogue(batch.source.open("rb"), **batch.reading)
        if not catalogue.xlsx:
            return None
        writer = WorkbookWriter(catalogue, replace=replace, renditions=rendition_names(batch))
        until_returned.pop_all()
    return _pieces(batch, catalogue, writer)


def _pieces(batch: Request, catalogue: Catalogue, writer: WorkbookWriter) -> Iterator[bytes]:
    edits = (
        writer.row(part, *result_cells(outcomes, len(batch.renditions)))
        for chunk in rows_with_results(batch, catalogue)
        for part, outcomes in chunk
        if isinstance(part, Row)
    )
    buffer = ZipBuffer()
    with batch.source:
        with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
            for _block in writer.write(archive, chain([writer.header()], edits)):
                if len(buffer) >= PIECE_BYTES:
                    yield buffer.take()
        yield buffer.take()
