"""`Content-Encoding`: what a body was encoded with, undone piece by piece in bounded memory."""

import zlib
from collections.abc import Iterator

INFLATE_BYTES = 256 * 1024

_GZIP = frozenset(("gzip", "x-gzip"))
_DEFLATE = "deflate"
#: Codings that browsers undo, but nothing here does.
_UNSUPPORTED = frozenset(("br", "zstd"))


class CodingError(Exception):
    """The encoding cannot be undone. The message continues a sentence that begins with the host."""


class UnsupportedCoding(CodingError):
    """The encoding is one that is not supported, or there are several."""


class Inflater:
    """Decompresses a body. Raises CodingError if it is damaged."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        # 16: with gzip's header. Whether deflate has zlib's header, its first two bytes tell.
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding in _GZIP else None
        self._start = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes of a piece of the body, in pieces of at most INFLATE_BYTES."""
        if self._inflater is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(data) else -zlib.MAX_WBITS)
        try:
            piece = b""
            while not self._inflater.eof and (data or len(piece) == INFLATE_BYTES):
                piece = self._inflater.decompress(data, INFLATE_BYTES)
                yield piece
                data = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise self._damaged() from error

    def finish(self) -> None:
        """Raise CodingError unless the end of the compressed data has been seen."""
        if self._inflater is None or not self._inflater.eof:
            raise self._damaged()

    def _damaged(self) -> CodingError:
        return CodingError(f"announced the encoding {self._coding}, but its data is damaged or incomplete")


def inflater_for(content_encoding: str) -> Inflater | None:
    """Return what decompresses a body, or None if it is to be taken as it is.

    Names that no browser knows say nothing about a body: `aws-chunked`, `none`, a charset or a media type are
    common with pictures that have no encoding at all. Raises UnsupportedCoding.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    codings = [name for name in names if name in _GZIP | _UNSUPPORTED or name == _DEFLATE]
    if len(codings) > 1:
        raise UnsupportedCoding(f"sent the picture encoded several times ({', '.join(codings)})")
    if not codings:
        return None
    if codings[0] in _UNSUPPORTED:
        raise UnsupportedCoding(f"sent the picture in the encoding {codings[0]}, which is not supported")
    return Inflater(codings[0])


def _has_zlib_header(data: bytes) -> bool:
    """Return whether two bytes are a header of zlib (RFC 1950, 2.2)."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
