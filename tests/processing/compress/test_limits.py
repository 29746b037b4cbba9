"""Limits on pictures: their size, their memory, and a crash of the process that decodes them."""

import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
import simplejpeg
from PIL import Image, ImageFile
from pytest import MonkeyPatch

from processing.compress import BYTES_PER_PIXEL, CompressError, Recipe, compress
from tests.support import hostile_pictures as hostile
from tests.support import pictures
from tests.support import rare_pictures as rare
from tests.support.corpus import SOUND, frames
from tests.support.pictures import decoded, encoded, png_chunk

CAP = 50_000_000
WIDTH = HEIGHT = 50_000
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF"]


def refused(data: bytes, *, max_pixels: int = CAP) -> CompressError:
    with pytest.raises(CompressError) as caught:
        compress(data, Recipe(), max_pixels=max_pixels)
    return caught.value


def patched(data: bytes, at: int, *values: int, layout: str) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


def huge(format: str, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A small file that announces a huge picture."""
    image = pictures.photo(64, 48)
    plain = encoded(image, format if format != "animated WEBP" else "PNG")
    makers: dict[str, Callable[[], bytes]] = {
        "JPEG": lambda: patched(plain, plain.index(b"\xff\xc0") + 5, height, width, layout=">HH"),
        "PNG": lambda: png_header(width, height),
        "GIF": lambda: patched(plain, 6, width, height, layout="<HH"),
        "BMP": lambda: patched(plain, 18, width, height, layout="<ii"),
        "TIFF": lambda: tiff({256: width, 257: height, 273: 8, 278: height, 279: 100}),
        "WEBP": lambda: webp(plain[12:], width, height),
        "animated WEBP": lambda: webp(frames("WEBP", image)[30:], width, height, animated=True),
        "AVIF": lambda: patched(plain, plain.index(b"ispe") + 8, width, height, layout=">II"),
        "HEIF": lambda: patched(plain, plain.index(b"ispe") + 8, width, height, layout=">II"),
    }
    return makers[format]()


def png_header(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")


def webp(chunks: bytes, width: int, height: int, *, animated: bool = False) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<II", 10, 2 if animated else 0) + sizes + chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(tags: dict[int, int], compression: int = 1) -> bytes:
    """A grey TIFF of these tags, with next to no pixels."""
    tags = {258: 8, 259: compression, 262: 1, 277: 1, **tags}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(104)


# --- The cap ---


@pytest.mark.parametrize("format", [*FORMATS, "animated WEBP"])
def test_a_picture_that_announces_too_many_pixels_is_refused_undecoded(
    format: str, monkeypatch: MonkeyPatch
) -> None:
    source = huge(format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *args, **options: pytest.fail("decoded"))
    assert refused(source).code == "too_many_pixels"


@pytest.mark.parametrize("compression", [1, 5, 7, 8, 32773, 32946])
def test_a_tile_larger_than_the_cap_is_refused_though_the_picture_is_small(compression: int) -> None:
    tiles = {322: 40_000, 323: 40_000, 324: 8, 325: 100}
    assert refused(tiff({256: 64, 257: 64, **tiles}, compression)).code == "too_many_pixels"


@pytest.mark.needs("a process of its own")
def test_refusing_huge_pictures_takes_next_to_no_memory(tmp_path: Path) -> None:
    sources = [huge(format) for format in [*FORMATS, "animated WEBP"]]
    sources += [tiff({256: 64, 257: 64, 322: 40_000, 323: 40_000, 324: 8, 325: 100}, 5)]
    assert max(added_memory(tmp_path, sources, CAP, threads=1)) < 20_000_000


@pytest.mark.parametrize("size", [(10_000, 5_001), (30_000, 30_000), (2_000_000, 2_000_000)])
def test_the_cap_holds_whatever_the_announced_size(size: tuple[int, int]) -> None:
    assert refused(png_header(*size)).code == "too_many_pixels"


def test_the_cap_counts_pixels_and_includes_its_own_value() -> None:
    source = pictures.photo_jpeg(100, 50)
    assert compress(source, Recipe(), max_pixels=5_000).output.width == 100
    error = refused(source, max_pixels=4_999)
    assert error.code == "too_many_pixels"
    assert "4,999" in error.detail


@pytest.mark.sample("name", by=lambda name: SOUND[name].format)
@pytest.mark.parametrize("name", SOUND)
def test_the_cap_holds_for_every_picture_there_is(name: str) -> None:
    source = SOUND[name].file()
    assert refused(source, max_pixels=96 * 64 - 1).code == "too_many_pixels"
    needed = 128 * 128 if name == "TIFF: compressed tiles" else 96 * 64  # one tile covers it all
    assert compress(source, Recipe(), max_pixels=needed).output.width == 96


def test_a_cap_above_pillows_own_limit_counts_alone(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compress(pictures.rgba_png(), Recipe(), max_pixels=CAP).output.width == 320


def test_pillows_own_limit_stays_as_it_is_below_the_cap(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_000_000)
    compress(pictures.photo_jpeg(), Recipe(), max_pixels=1_000_000)
    assert Image.MAX_IMAGE_PIXELS == 89_000_000


# --- What is tried at all ---


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "SGI", "DDS", "IM", "QOI"])
def test_formats_that_are_not_listed_are_not_tried(format: str, monkeypatch: MonkeyPatch) -> None:
    source = encoded(pictures.photo(16, 16), format)
    assert decoded(source).format == format  # Pillow could
    Image.init()
    for name in set(Image.OPEN) - {*FORMATS, "MPO", "JPEG2000", "PSD", "ICO"}:
        monkeypatch.setitem(Image.OPEN, name, (lambda *args: pytest.fail("tried"), None))
    assert refused(source).code in ("not_an_image", "unsupported_format")


@pytest.mark.needs("a process of its own")
def test_without_its_extra_heic_is_called_by_its_name() -> None:
    program = """
import sys
sys.modules["pillow_heif"] = None  # as if it were not installed
from processing.compress import CompressError, Recipe, compress
try:
    compress(sys.stdin.buffer.read(), Recipe(), max_pixels=10_000)
except CompressError as error:
    print(error.code, error)
"""
    heic = encoded(pictures.photo(64, 48), "HEIF")
    ended = subprocess.run([sys.executable, "-c", program], input=heic, check=True, capture_output=True)
    assert ended.stdout.decode().strip() == "unsupported_format HEIC pictures are not supported."


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_frames_and_pages_beyond_the_first_are_never_decoded(format: str, monkeypatch: MonkeyPatch) -> None:
    source = frames(format)
    kind = type(decoded(source))
    seek = kind.seek

    def seek_the_first(image: Image.Image, frame: int) -> None:
        assert frame == 0
        seek(image, frame)

    monkeypatch.setattr(kind, "seek", seek_the_first)
    assert compress(source, Recipe(format="original"), max_pixels=CAP).output.width == 96


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF"])
def test_frames_and_pages_beyond_the_first_may_be_damaged(format: str) -> None:
    first, source = encoded(pictures.photo(96, 64), format), frames(format)
    damaged = source[: len(first) + 200] + b"\xff" * (len(source) - len(first) - 200)
    assert compress(damaged, Recipe(), max_pixels=CAP).output.width == 96


# --- Decoders that fail ---


@pytest.mark.usefixtures("pixels_only")
@pytest.mark.sample("error", keep=2)
@pytest.mark.parametrize(
    "error", [BufferError, RecursionError, KeyError, OSError, SystemError, ZeroDivisionError]
)
@pytest.mark.parametrize("format", FORMATS)
def test_whatever_a_decoder_raises_the_picture_is_corrupt(
    format: str, error: type[Exception], monkeypatch: MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    source = encoded(pictures.photo(16, 16), format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    assert refused(source).code == "corrupt_image"


def test_memory_that_runs_out_is_not_held_against_the_picture(monkeypatch: MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        compress(pictures.rgba_png(16, 16), Recipe(), max_pixels=CAP)


def test_a_heic_that_turns_out_larger_than_it_says_is_corrupt() -> None:
    source = encoded(pictures.photo(64, 48), "HEIF")
    smaller = patched(source, source.index(b"ispe") + 8, 32, 16, layout=">II")
    assert refused(smaller).code == "corrupt_image"


# --- Memory ---


def test_decoding_happens_within_the_reservation() -> None:
    events: list[object] = []

    @contextmanager
    def reserve(pixels: int) -> Iterator[None]:
        events.append(pixels)
        yield
        events.append("released")

    source, broken = pictures.photo_jpeg(40, 30), pictures.truncated(pictures.rgba_png(40, 30))
    compress(source, Recipe(), max_pixels=CAP, reserve=reserve)
    assert events == [1200 + 4 * len(source) // BYTES_PER_PIXEL, "released"]
    with pytest.raises(CompressError):
        compress(broken, Recipe(), max_pixels=CAP, reserve=reserve)
    assert events[2:] == [1200 + 4 * len(broken) // BYTES_PER_PIXEL]  # the error went through it
    with pytest.raises(CompressError):
        compress(huge("PNG"), Recipe(), max_pixels=CAP, reserve=reserve)
    assert len(events) == 3


MEASURE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Barrier

from processing.compress import CompressError, Recipe, PixelBudget, compress, configure_malloc

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def growth(sources):
    budget, start = PixelBudget(cap), Barrier(threads)

    def work(data, format):
        start.wait()
        try:
            compress(data, Recipe(format=format), max_pixels=cap, reserve=budget.taken)
        except CompressError as error:
            assert error.code in codes, error.code

    for format in ("jpeg", "webp", "avif"):
        compress(Path(warm).read_bytes(), Recipe(format=format), max_pixels=cap)
    data = [Path(source).read_bytes() for source in sources]
    before = peak()
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(work, data, cycle(("jpeg", "original", "webp", "avif"))))
    return peak() - before

cap, threads, codes, warm, *sources = sys.argv[1:]
cap, threads = int(cap), int(threads)
configure_malloc()
if threads > 1:
    print(growth(sources))
else:
    compress(Path(warm).read_bytes(), Recipe(), max_pixels=cap)
    for source in sources:
        if not os.fork():
            print(growth([source]), flush=True)
            os._exit(0)
        if os.wait()[1]:
            raise SystemExit(source)
"""


def added_memory(
    directory: Path, sources: list[bytes], cap: int, *, threads: int, codes: str = "too_many_pixels"
) -> list[int]:
    """Bytes that a process grows by at most while its threads make pictures of these, all at once.

    With a single thread each picture has a process of its own, whose growth is in its place of the list.
    Pictures may be refused with one of the codes.
    """
    paths = [directory / str(number) for number in range(1 + len(sources))]
    for path, data in zip(paths, [pictures.rgba_png(16, 16), *sources], strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(cap), str(threads), codes, *map(str, paths)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=250)
    return [int(line) for line in done.stdout.splitlines()]


@pytest.mark.needs("a process of its own")
def test_memory_stays_bounded_when_twenty_pictures_of_the_allowed_size_arrive_together(
    tmp_path: Path,
) -> None:
    width, height = 1000, 600
    sources = []
    for seed in range(5):
        image = pictures.photo(width, height, seed=seed)
        clear = image.convert("RGBA")
        clear.putalpha(image.convert("L"))
        sources += [encoded(image, "JPEG"), encoded(clear, "PNG", compress_level=1)]
        sources += [encoded(clear, "WEBP", method=0), encoded(image.convert("CMYK"), "TIFF")]
    assert len(set(sources)) == 20
    bound = (64 << 20) + BYTES_PER_PIXEL * width * height
    (growth,) = added_memory(tmp_path, sources, width * height, threads=20)
    assert growth < bound


WORST: dict[str, Callable[[], bytes]] = {
    "JPEG: segments": lambda: hostile.with_jpeg_segments(hostile.segment(0xE3, bytes(20_000)) * 900),
    "JPEG: scans": lambda: hostile.repeated_scans(20, 1_000, 600),
    "JPEG: CMYK, progressive": lambda: pictures.cmyk_jpeg(1_000, 600, progressive=True),
    "PNG: texts": lambda: hostile.inflating_png(60, b"zTXt"),
    "GIF: comments": lambda: (
        hostile.gif_comments(0)[:37] + b"!\xfe" + b"\2ab" * 19_000 + b"\0" + hostile.gif_comments(0)[37:]
    ),
    "TIFF: tiles": lambda: hostile.tiny_tiles(60_000),
    "WebP: chunks": lambda: hostile.webp_chunks(9_000),
    "AVIF": lambda: encoded(pictures.cut_out(1_000, 600), "AVIF"),
    "TIFF: floating-point numbers": lambda: hostile.float_tiff(1_000, 600),
    "TIFF: 16 bits in planes": lambda: rare.tiff(
        numpy.asarray(pictures.cut_out(1_000, 600)).astype("u2") * 257, 2, extra=2, in_planes=True
    ),
    "TIFF: CMYK with transparency": lambda: rare.tiff(
        numpy.dstack([numpy.asarray(pictures.cut_out(1_000, 600)), numpy.zeros((600, 1_000), numpy.uint8)]),
        5,
        extra=1,
    ),
    "TIFF: JPEG 2000 inside": lambda: rare.tiff_of_files(pictures.cut_out(1_000, 600), 34712, "JPEG2000"),
    "JPEG 2000": lambda: encoded(pictures.cut_out(1_000, 600), "JPEG2000"),
    "JPEG 2000: tiles": lambda: encoded(pictures.cut_out(1_000, 600), "JPEG2000", tile_size=(16, 16)),
    "BMP: masks": lambda: rare.bitmap(pictures.cut_out(1_000, 600), 32, (0xFF000000, 0xFF00, 0xFF, 0xFF0000)),
    "Photoshop": lambda: rare.photoshop(pictures.cut_out(1_000, 600), 3),
    "PNG: wrong checksum": lambda: rare.with_pixels(
        encoded(pictures.cut_out(1_000, 600), "PNG", compress_level=0),
        zlib.compress(bytes(601 * 4_001), 9)[:-4] + b"none",
    ),
    "PNG: HDR": lambda: rare.with_chunks(encoded(pictures.cut_out(1_000, 600), "PNG"), rare.codes(9, 16)),
    "JPEG: cut off": lambda: pictures.photo_jpeg(1_000, 600, progressive=True)[:-5_000],
}


@pytest.mark.needs("a process of its own")
def test_the_bound_of_memory_holds_for_the_worst_file_of_each_format(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    sources = [make() for make in WORST.values()]
    pixels = 1_000 * 600
    growths = added_memory(tmp_path, sources, pixels, threads=1, codes="corrupt_image unsupported_format")
    for name, source, growth in zip(WORST, sources, growths, strict=True):
        with subtests.test(name):
            assert growth < (64 << 20) + BYTES_PER_PIXEL * pixels + 4 * len(source)
