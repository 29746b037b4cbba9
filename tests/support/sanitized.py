"""The C code, compiled with sanitizers and called with mutated pictures."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.stack import ROOT

SOURCES = (ROOT / "processing/compress/native/requantise.c", ROOT / "tests/support/harness.c")
FLAGS = ("-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def call_mutated(pictures: Iterable[bytes], directory: Path, *, seconds: int, rounds: int, seed: int) -> str:
    """Call the C function for that long and so often. Return the summary, or raise on the first error."""
    program = directory / "harness"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, *FLAGS, "-o", program, *SOURCES, "-ljpeg"], check=True)
    files = []
    for number, picture in enumerate(pictures):
        files.append(directory / f"{number}.jpg")
        files[-1].write_bytes(picture)
    numbers = map(str, (seconds, rounds, seed))
    ended = subprocess.run([program, *numbers, *files], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
