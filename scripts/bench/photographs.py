"""Real photographs: where they come from, and each in the sizes that are measured."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.support.stack import ROOT

#: Debian's packages with photographs.
PACKAGES = ("mate-backgrounds", "plasma-workspace-wallpapers")
SIZES = (400, 1000, 2000)
UNPACKED = ROOT / "var" / "bench" / "photographs"
#: Smaller files are drawings or previews.
MIN_BYTES = 100_000


def photographs() -> list[Path]:
    """Return the JPEGs in BENCH_PHOTOS, or those of Debian's packages, which apt-get downloads; else none."""
    if folder := os.environ.get("BENCH_PHOTOS"):
        return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not UNPACKED.exists() and not _download():
        print("bench: no photographs: name a folder with BENCH_PHOTOS=…", file=sys.stderr)
        return []
    found = sorted(UNPACKED.rglob("*.jpg"))
    return [path for path in found if path.stat().st_size > MIN_BYTES and "screenshot" not in path.name]


def _download() -> bool:
    """Unpack the packages without installing them."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return False
    packages = UNPACKED.with_name("packages")
    packages.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        fetched = subprocess.run(
            ["apt-get", "-qq", "download", name], cwd=packages, capture_output=True, check=False
        )
        if fetched.returncode:
            return False
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, UNPACKED], check=True)
    return True


def scaled(sources: list[Path], root: Path, count: int) -> dict[int, Path]:
    """Write up to `count` photographs, spread over all, in each size: JPEG, quality 90, 4:2:0."""
    folders = {size: root / str(size) for size in SIZES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    step = max(1, len(sources) // count)
    for number, path in enumerate(sources[::step][:count]):
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * max(SIZES), 2 * max(SIZES)))
            photo = opened.convert("RGB")
        for size, folder in folders.items():
            image = photo.copy()
            image.thumbnail((size, size), Image.Resampling.LANCZOS)
            image.save(folder / f"{number:03}.jpg", quality=90, subsampling="4:2:0")
    return folders
