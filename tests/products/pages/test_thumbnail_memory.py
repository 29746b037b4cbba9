"""The web process does not decode large outputs itself."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from products.pages import thumbnail
from tests.support import pictures
from tests.support.parallel import wait_until
from tests.support.pictures import decoded, encoded

MEASURE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from products.pages.thumbnail import make_thumbnail

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

make_thumbnail(Path(sys.argv[1]).read_bytes())
data = Path(sys.argv[2]).read_bytes()
before = peak()
with ThreadPoolExecutor(3) as threads:
    list(threads.map(make_thumbnail, [data] * 3))
print(peak() - before)
"""


def growth(directory: Path, data: bytes) -> int:
    """Bytes that a process grows by while it makes three thumbnails of this picture at once."""
    (directory / "warm").write_bytes(encoded(Image.new("RGB", (16, 16)), "WEBP"))
    (directory / "file").write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(directory / "warm"), str(directory / "file")]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.needs("a process of its own")
@pytest.mark.parametrize(
    "make",
    [
        lambda image: encoded(image, "PNG", compress_level=1),
        lambda image: encoded(image, "WEBP", lossless=True, quality=0, method=0),
        lambda image: encoded(image.convert("L"), "JPEG"),
    ],
)
def test_thumbnails_of_large_outputs_take_little_memory_of_the_web_process(
    make: Callable[[Image.Image], bytes], tmp_path: Path
) -> None:
    assert growth(tmp_path, make(Image.new("RGBA", (5_000, 4_000)))) < 40_000_000


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_child_makes_the_same_thumbnail(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = encoded(pictures.photo(640, 480), format)
    here = thumbnail.make_thumbnail(source)
    monkeypatch.setattr(thumbnail, "MAX_PIXELS_IN_PROCESS", 0)
    monkeypatch.setattr(thumbnail, "MAX_JPEG_PIXELS_IN_PROCESS", 0)
    assert thumbnail.make_thumbnail(source) == here
    assert decoded(here).size == (192, 144)


def test_a_picture_that_no_child_can_read_raises_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnail, "MAX_PIXELS_IN_PROCESS", 0)
    with pytest.raises(OSError):
        thumbnail.make_thumbnail(pictures.truncated(pictures.rgba_png()))


def test_a_browser_gets_its_six_large_outputs_and_small_ones_do_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, end = list[int](), Event()
    large = encoded(Image.new("L", (5_000, 4_000)), "PNG")

    def make(_data: bytes) -> bytes:
        begun.append(1)
        end.wait()
        return b"made"

    monkeypatch.setattr(thumbnail, "_make_in_child", make)
    with ThreadPoolExecutor(6) as threads:
        try:
            waiting = [threads.submit(thumbnail.make_thumbnail, large) for _ in range(6)]
            wait_until(lambda: begun and not thumbnail._large._value)
            with pytest.raises(thumbnail.Busy):
                thumbnail.make_thumbnail(large)
            assert decoded(thumbnail.make_thumbnail(pictures.rgba_png())).size
        finally:
            end.set()
        assert [one.result() for one in waiting] == [b"made"] * 6
    assert thumbnail.make_thumbnail(large) == b"made"
