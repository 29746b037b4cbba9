"""Files of very many parts: refused by counting, before a decoder takes time or memory for each of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image
from pytest import MonkeyPatch

from processing.compress import (
    CompressError,
    NeedsChildError,
    PixelBudget,
    Recipe,
    compress,
    compress_here,
    compress_isolated,
)
from processing.compress.structure import check_structure
from tests.support import hostile_pictures as hostile
from tests.support import pictures
from tests.support.corpus import SOUND
from tests.support.pictures import encoded, photo_jpeg

CAP = 50_000_000
#: In the names of TIFFs that Pillow does not decode.
UNUSUAL_SAMPLES = (
    *("in planes", "16-bit LA", "16-bit CMYK", "32-bit", "float RGB", "double", "with transparency"),
    *("inside",),
)
#: Seconds of CPU. Each of the files took longer, or gigabytes.
CPU_SECONDS = 10
MEMORY_BYTES = 64 << 20

# For each file a child, that all the imports are made only once: the code of its error, and by how many bytes
# it grew.
PROGRAM = """
import json, os, resource, sys
from pathlib import Path
from processing.compress import CompressError, Recipe, compress

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def refused(file):
    compress(warm, Recipe(), max_pixels=50_000_000)
    data = Path(file).read_bytes()
    before = peak()
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds)))
    try:
        compress(data, Recipe(), max_pixels=50_000_000)
    except CompressError as error:
        return error.code, peak() - before

cpu_seconds, warm, *files = sys.argv[1:]
warm = Path(warm).read_bytes()
compress(warm, Recipe(), max_pixels=50_000_000)
for file in files:
    if not os.fork():
        print(json.dumps(refused(file)), flush=True)
        os._exit(0)
    if os.wait()[1]:
        print("null", flush=True)
"""


def refused_in_children(directory: Path, files: Iterable[bytes]) -> list[tuple[str, int] | None]:
    """Return for each file the code of the error and the memory that a limited process took for it.

    It is None if there was no error, or the process has ended before.
    """
    paths = []
    for number, data in enumerate([photo_jpeg(16, 16), *files]):
        paths.append(directory / str(number))
        paths[-1].write_bytes(data)
    command = [sys.executable, "-c", PROGRAM, str(CPU_SECONDS), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.needs("a process of its own")
def test_a_flood_of_parts_is_refused_within_little_time_and_memory(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    refusals = refused_in_children(tmp_path, (make() for make in hostile.FLOODS.values()))
    for name, refusal in zip(hostile.FLOODS, refusals, strict=True):
        with subtests.test(name):
            assert refusal
            code, growth = refusal
            assert code == "corrupt_image"
            assert growth < MEMORY_BYTES


@pytest.mark.parametrize("name", ["JPEG: comments", "JPEG: scans", "PNG: chunks", "GIF: comments"])
def test_a_refusal_says_what_there_is_too_much_of(name: str) -> None:
    with pytest.raises(CompressError, match=r"has more than [\d,]+ \w+.* Save it again with an image editor"):
        compress(hostile.FLOODS[name](), Recipe(), max_pixels=CAP)


@pytest.mark.needs("a process of its own")
def test_compressed_tiles_far_larger_than_the_picture_are_refused(tmp_path: Path) -> None:
    (refusal,) = refused_in_children(tmp_path, [hostile.wide_tiles(7_000)])
    assert refusal
    code, growth = refusal
    assert code == "too_many_pixels"
    assert growth < MEMORY_BYTES


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_bigtiff_whose_directory_lies_out_of_all_bounds_is_corrupt(offset: int) -> None:
    data = b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little") + bytes(100)
    with pytest.raises(CompressError) as caught:
        compress(data, Recipe(), max_pixels=CAP)
    assert caught.value.code == "corrupt_image"


# --- What is usual passes ---


RARE = [
    *(name for name, sound in SOUND.items() if sound.format in ("jpeg2000", "psd", "ico")),
    *(name for name in SOUND if name.startswith(("BMP: masks", "BMP: palette"))),
    *(name for name in SOUND if name.startswith("TIFF") and any(kind in name for kind in UNUSUAL_SAMPLES)),
]


@pytest.mark.sample("name", by=lambda name: SOUND[name].format)
@pytest.mark.parametrize("name", [name for name in SOUND if name not in RARE])
def test_every_sound_picture_of_a_usual_kind_passes_in_this_process(name: str) -> None:
    source = SOUND[name].file()
    budget = PixelBudget(CAP)
    assert compress_here(source, Recipe(), max_pixels=CAP, reserve=budget.taken).output.width == 96


@pytest.mark.parametrize("name", RARE)
def test_a_picture_of_a_rare_kind_is_decoded_in_a_child_only(name: str, monkeypatch: MonkeyPatch) -> None:
    source = SOUND[name].file()
    with pytest.raises(NeedsChildError) as needs:
        compress_here(source, Recipe(), max_pixels=CAP, reserve=PixelBudget(CAP).taken)
    assert needs.value.pixels >= 96 * 64


@pytest.mark.parametrize("name", ["TIFF: float RGB, predicted", "Photoshop: CMYK", "icon: bitmap"])
def test_a_child_makes_of_a_rare_kind_what_this_process_would_make(name: str) -> None:
    source = SOUND[name].file()
    assert compress_isolated(source, Recipe(), max_pixels=CAP) == compress(source, Recipe(), max_pixels=CAP)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hostile.comments(900),
        lambda: hostile.split_exif(8),
        lambda: hostile.repeated_scans(50),
        lambda: hostile.inflating_png(10, b"zTXt"),
        lambda: hostile.gif_comments(0),
        lambda: hostile.webp_chunks(5_000),
        lambda: hostile.tiny_tiles(5_000),
        lambda: encoded(pictures.photo(60, 40_000), "TIFF", tiffinfo={278: 1}),  # a strip for each row
        lambda: photo_jpeg(64, 48, icc_profile=bytes(3_000_000), exif=b"Exif\0\0" + bytes(60_000)),
    ],
)
def test_unusually_many_parts_pass(make: Callable[[], bytes]) -> None:
    compress(make(), Recipe(), max_pixels=CAP)


def test_the_segments_of_a_kept_jpeg_are_each_looked_at_once(monkeypatch: MonkeyPatch) -> None:
    lengths = 0

    def counted(part: bytes) -> int:
        nonlocal lengths
        lengths += 1
        return len(part)

    monkeypatch.setattr("processing.compress.metadata.len", counted, raising=False)
    source = hostile.with_jpeg_segments(hostile.segment(0xFE, b"") * 900, photo_jpeg(96, 64, quality=20))
    result = compress(source, Recipe(quality=95), max_pixels=CAP)
    assert result.kept
    assert lengths < 10 * 900


# --- What is counted ---


@pytest.mark.parametrize("count", [0, 5, 50])
def test_scans_are_counted(count: int) -> None:
    usual = check_structure(hostile.repeated_scans(0)).passes
    assert check_structure(hostile.repeated_scans(count)).passes == usual + count
    assert check_structure(hostile.hidden_scans(count)).passes == usual + count


def test_a_jpeg_that_is_not_progressive_takes_one_pass() -> None:
    assert check_structure(photo_jpeg()).passes == 1


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (lambda: hostile.repeated_scans(90, 3_000, 2_500), Recipe()),
        (lambda: hostile.run_length_bmp(100, 100, 10), Recipe()),
        (lambda: encoded(Image.new("L", (8_000, 6_000)), "JPEG"), Recipe(format="avif")),
    ],
)
def test_what_takes_long_is_left_to_a_child_undecoded(
    source: Callable[[], bytes], options: Recipe, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "processing.compress.child_process.compress_opened", lambda *_: pytest.fail("decoded")
    )
    with pytest.raises(NeedsChildError):
        compress_here(source(), options, max_pixels=CAP, reserve=PixelBudget(CAP).taken)


def test_the_largest_usual_picture_needs_no_child(monkeypatch: MonkeyPatch) -> None:
    result = compress(photo_jpeg(), Recipe(), max_pixels=CAP)
    monkeypatch.setattr("processing.compress.child_process.compress_opened", lambda *_: result)
    source = encoded(Image.new("L", (8_000, 6_000)), "JPEG")
    assert compress_here(source, Recipe(), max_pixels=CAP, reserve=PixelBudget(CAP).taken) is result
