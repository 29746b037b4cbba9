"""JPEG to JPEG of real photographs: bytes, CPU and similarity of this project's codec and of others.

    python -m scripts.bench.likeness [--count N] [--no-write]

Contenders take turns in every round, and the least CPU counts. `make bench` runs it too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any

import simplejpeg
from PIL import Image

from processing.compress import Recipe, compress, configure_malloc, native
from scripts.bench import report
from scripts.bench.contenders import VENV, install_others
from scripts.bench.photographs import photographs, scaled
from tests.support.reader import psnr, similarity
from tests.support.stack import ROOT

QUALITY = 50
#: Photographs in each size.
COUNT = 40
ROUNDS = 3
MAX_PIXELS = 100_000_000
SHARP = ROOT / "var" / "bench" / "sharp"
SHARP_SCRIPT = Path(__file__).with_name("sharp.mjs")
#: Boxes in which this project's outputs are compared with those of sharp, by the name of sharp's fit.
FITS = {"contain": "pad", "cover": "cover", "inside": "inside"}
#: At this size no side of the usual photographs is rounded from a half pixel, which would shift sharp's
#: outputs.
BOX = (400, 400)
#: A contender: files in, CPU ms and outputs of each out.
Contender = Callable[[Path], tuple[float, list[bytes]]]

_CV2 = """
import cv2, numpy, sys, time
from pathlib import Path
files = [p.read_bytes() for p in sorted(Path(sys.argv[1]).iterdir())]
cv2.setNumThreads(1)
def make(data):
    image = cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(sys.argv[3])])[1].tobytes()
[make(data) for data in files[:3]]
before = time.process_time()
made = [make(data) for data in files]
print((time.process_time() - before) * 1000 / len(files))
for number, data in enumerate(made):
    Path(sys.argv[2], f"{number:03}.jpg").write_bytes(data)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes, CPU and similarity of JPEGs.")
    parser.add_argument("--count", type=int, default=COUNT, help="photographs")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args()
    compare(options.count, write=not options.no_write)


def compare(count: int, *, write: bool) -> None:
    """Measure, print the tables, and write them to docs/performance.md."""
    configure_malloc()
    sources = photographs()
    if not sources:
        return
    text = tables(measured(sources, count))
    print(text)
    if write:
        report.put("scripts.bench.likeness", text)


def measured(sources: list[Path], count: int) -> dict[str, Any]:
    """Return the figures by size and contender, and the similarity to sharp's outputs by fit."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root = Path(directory)
        folders = scaled(sources, root / "sources", count)
        contenders = _contenders(root)
        sizes = {str(size): _size(folder, contenders) for size, folder in folders.items()}
        fits = {name: _fit(name, folders[1000], root) for name in FITS} if "sharp" in contenders else {}
    return {"machine": report.machine(), "codec": report.codec(), "sizes": sizes, "fits": fits}


def _contenders(root: Path) -> dict[str, Contender]:
    contenders: dict[str, Contender] = {}
    if native.library():
        for effort in ("fast", "balanced", "smallest"):
            recipe = Recipe(quality=QUALITY, effort=effort)
            contenders[f"coefficients, {effort}"] = in_process(_by_recipe(recipe))
    contenders["pixels, fast"] = in_process(_without_library(Recipe(quality=QUALITY, effort="fast")))
    contenders["pixels, balanced"] = in_process(_without_library(Recipe(quality=QUALITY)))
    contenders["quality auto, balanced"] = in_process(_by_recipe(Recipe(quality="auto")))
    contenders["simplejpeg"] = in_process(_simplejpeg)
    contenders["Pillow"] = in_process(lambda data: _pillow(data, optimize=False))
    contenders["Pillow, optimize"] = in_process(lambda data: _pillow(data, optimize=True))
    if _install_sharp():
        contenders["sharp"] = lambda folder: sharp(folder, root / "sharp", jpeg={"quality": QUALITY})
        contenders["sharp, mozjpeg"] = lambda folder: sharp(
            folder, root / "sharp", jpeg={"quality": QUALITY, "mozjpeg": True}
        )
    if install_others():
        contenders["img2dataset's encoder (OpenCV)"] = lambda folder: _opencv(folder, root / "opencv")
    return contenders


def in_process(make: Callable[[bytes], bytes]) -> Contender:
    """Return the contender that makes each output by a call."""

    def run(folder: Path) -> tuple[float, list[bytes]]:
        files = [path.read_bytes() for path in sorted(folder.iterdir())]
        for data in files[:3]:
            make(data)
        before = time.process_time()
        made = [make(data) for data in files]
        return (time.process_time() - before) * 1000 / len(files), made

    return run


def _by_recipe(recipe: Recipe) -> Callable[[bytes], bytes]:
    return lambda data: compress(data, recipe, max_pixels=MAX_PIXELS).data


def _without_library(recipe: Recipe) -> Callable[[bytes], bytes]:
    def make(data: bytes) -> bytes:
        library, native.library = native.library, lambda: None  # type: ignore[assignment]
        try:
            return compress(data, recipe, max_pixels=MAX_PIXELS).data
        finally:
            native.library = library

    return make


def _simplejpeg(data: bytes) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(data), QUALITY, "RGB", "420")
    return encoded


def _pillow(data: bytes, *, optimize: bool) -> bytes:
    file = BytesIO()
    Image.open(BytesIO(data)).save(file, "JPEG", quality=QUALITY, optimize=optimize)
    return file.getvalue()


def sharp(folder: Path, outputs: Path, **options: object) -> tuple[float, list[bytes]]:
    """Run sharp over the files of a folder with these options."""
    shutil.rmtree(outputs, ignore_errors=True)
    command: list[str | Path] = [
        "node",
        SHARP_SCRIPT,
        SHARP / "node_modules",
        json.dumps(options),
        folder,
        outputs,
    ]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(ended.stdout), [path.read_bytes() for path in sorted(outputs.iterdir())]


def _opencv(folder: Path, outputs: Path) -> tuple[float, list[bytes]]:
    outputs.mkdir(exist_ok=True)
    command: list[str | Path] = [VENV / "bin/python", "-c", _CV2, folder, outputs, str(QUALITY)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(ended.stdout), [path.read_bytes() for path in sorted(outputs.iterdir())]


def _install_sharp() -> bool:
    """Install sharp into a folder of its own. Return False and print why if that fails."""
    if (SHARP / "node_modules/sharp").exists():
        return True
    if not (shutil.which("node") and shutil.which("npm")):
        print("bench: node and npm are not installed: sharp is left out", file=sys.stderr)
        return False
    print("bench: installing sharp", file=sys.stderr)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(SHARP), "sharp"]
    if subprocess.run(command, check=False, env={**os.environ, "npm_config_loglevel": "error"}).returncode:
        print("bench: sharp could not be installed and is left out", file=sys.stderr)
        return False
    return True


def _size(folder: Path, contenders: dict[str, Contender]) -> dict[str, Any]:
    sources = [path.read_bytes() for path in sorted(folder.iterdir())]
    shown = [_decoded(data) for data in sources]
    least: dict[str, float] = {}
    outputs: dict[str, list[bytes]] = {}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            cpu_ms, outputs[name] = run(folder)
            least[name] = min(cpu_ms, least.get(name, cpu_ms))
    return {
        "photographs": len(sources),
        "kilobytes": mean(map(len, sources)) / 1000,
        "contenders": {
            name: {
                "cpu_ms": least[name],
                "kilobytes": mean(map(len, made)) / 1000,
                "psnr": mean(psnr(_decoded(data), image) for data, image in zip(made, shown, strict=True)),
                "ssim": mean(
                    similarity(_decoded(data), image) for data, image in zip(made, shown, strict=True)
                ),
            }
            for name, made in outputs.items()
        },
    }


def _fit(name: str, folder: Path, root: Path) -> dict[str, float]:
    """Return the mean and the lowest SSIM of this project's outputs and those of sharp in a box.

    From PNG to PNG: JPEGs lose something, and sharp shrinks them by decoding fewer pixels.
    """
    sources = root / "fit"
    sources.mkdir(exist_ok=True)
    for path in folder.iterdir():
        Image.open(path).save(sources / f"{path.stem}.png", compress_level=1)
    width, height = BOX
    recipe = Recipe(format="original", width=width, height=height, fit=FITS[name], background="#ffffff")
    resize = {"width": width, "height": height, "fit": name, "background": "#ffffff"}
    _, theirs = sharp(sources, root / "fitted", png={}, resize=resize)
    files = [path.read_bytes() for path in sorted(sources.iterdir())]
    ours = [compress(data, recipe, max_pixels=MAX_PIXELS).data for data in files]
    pairs = [(_decoded(one), _decoded(other)) for one, other in zip(ours, theirs, strict=True)]
    wrong = [one.size for one, other in pairs if one.size != other.size]
    if wrong:
        sys.exit(f"bench: outputs with fit {name} are not as large as those of sharp: {wrong}")
    found = [similarity(one, other) for one, other in pairs]
    return {"mean": mean(found), "lowest": min(found)}


def _decoded(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def tables(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    parts = [f"{figures['machine']}; JPEG to JPEG by {figures['codec']}.\n"]
    parts += [_size_table(size, found) for size, found in figures["sizes"].items()]
    if figures["fits"]:
        lines = [
            "| fit, PNG to PNG within 400 × 400 px | SSIM with sharp's outputs, mean | lowest |",
            "|---|---|---|",
        ]
        lines += [
            f"| {name} | {one['mean']:.4f} | {one['lowest']:.4f} |" for name, one in figures["fits"].items()
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _size_table(size: str, found: dict[str, Any]) -> str:
    lines: Iterable[str] = (
        f"| {name} | {one['cpu_ms']:.2f} | {one['kilobytes']:.1f} | {one['psnr']:.2f} | {one['ssim']:.4f} |"
        for name, one in found["contenders"].items()
    )
    what = f"{size} px, {found['photographs']} photographs of {found['kilobytes']:.1f} KB"
    head = f"| {what} | CPU ms | KB | PSNR dB | SSIM |"
    return "\n".join([head, "|---|---|---|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    main()
