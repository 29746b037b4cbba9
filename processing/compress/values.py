"""What goes into compress() and what comes out."""

from dataclasses import dataclass


class CompressError(Exception):
    """A picture that will never be compressed, however often it is tried.

    ``code`` is ``not_an_image``, ``unsupported_format``, ``too_many_pixels`` or ``corrupt_image``; ``detail``
    is a sentence for the people who look after the catalogue.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)  # both, so that the error can be pickled out of a child process
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class Options:
    """What to make: ``format`` is ``jpeg``, ``webp``, ``avif`` or ``original``; the limits are in pixels."""

    quality: int = 50
    format: str = "jpeg"
    max_width: int | None = None
    max_height: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Size in bytes, width and height in pixels as a viewer shows them, format in lower case."""

    bytes: int
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """A finished picture; ``extension`` is its usual file name ending, without the dot.

    ``kept`` says that its picture data is the source's own, because anew it would take more bytes.
    """

    data: bytes
    extension: str
    source: Facts
    output: Facts
    kept: bool
