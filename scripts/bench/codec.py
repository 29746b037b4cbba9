"""The codec with nothing around it: CPU seconds per picture, in a process of its own.

    python -m scripts.bench.codec simplejpeg|pillow FOLDER COUNT

Two threads work at once, as in a worker on two cores, which share caches and memory.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import simplejpeg
from PIL import Image

THREADS = 2
QUALITY = 50


def bare(codec: str, folder: Path, count: int) -> float:
    """CPU seconds per picture of `simplejpeg` or `pillow` for the first pictures in a folder."""
    command = [sys.executable, "-m", __name__, codec, str(folder), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _simplejpeg(data: bytes) -> None:
    simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(data), QUALITY, "RGB", "420")


def _pillow(data: bytes) -> None:
    Image.open(BytesIO(data)).save(BytesIO(), "JPEG", quality=QUALITY)


def _measure(codec: str, folder: Path, count: int) -> float:
    work = {"simplejpeg": _simplejpeg, "pillow": _pillow}[codec]
    pictures = [(folder / f"{number}.jpg").read_bytes() for number in range(count)]
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, pictures[: 2 * THREADS]))  # memory for pixels is there from now on
        before = time.process_time()
        list(threads.map(work, pictures))
        return (time.process_time() - before) / count


if __name__ == "__main__":
    print(_measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
