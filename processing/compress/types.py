"""Input, output and error of ``compress()``."""

from dataclasses import dataclass


class CompressError(Exception):
    """A picture that cannot be compressed; trying again does not help.

    ``code`` is ``not_an_image``, ``unsupported_format``, ``too_many_pixels``, ``corrupt_image`` or, from
    ``compress_isolated()`` only, ``crashed``. ``detail`` is a sentence for users.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)  # pickle calls the class with these arguments
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def unsupported(what: str) -> CompressError:
    """Return the error for a kind of pictures that no decoder here reads; ``what`` begins the sentence."""
    return CompressError("unsupported_format", f"{what} are not supported.")


@dataclass(frozen=True, slots=True)
class Options:
    """The output wanted: ``format`` is ``jpeg``, ``webp``, ``avif`` or ``original``; limits are in pixels."""

    quality: int = 50
    format: str = "jpeg"
    max_width: int | None = None
    max_height: int | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Size of a file in bytes, width and height in pixels as displayed, and format in lower case."""

    bytes: int
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """A compressed picture; ``extension`` is its usual file name extension, without the dot.

    ``kept`` is true if the output contains the source's own image data, because encoding it again would not
    have saved a byte. ``animated`` is true if the source has more frames than the one that was compressed.
    """

    data: bytes
    extension: str
    source: ImageInfo
    output: ImageInfo
    kept: bool
    animated: bool = False
