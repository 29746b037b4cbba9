"""Mutated JPEGs: for the C code, which sanitizers watch, and for both ways to recompress, which agree."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import strategies as st

from processing.compress import CompressError, Recipe, compress, native
from tests.fuzz.test_pictures import mutated, mutations
from tests.support.corpus import SOUND
from tests.support.effort import fuzz, seconds_each, timed
from tests.support.pictures import decoded
from tests.support.reader import psnr
from tests.support.sanitized import call_mutated

pytestmark = pytest.mark.needs(native.LIBRARY.name)
JPEGS = sorted(name for name, sound in SOUND.items() if sound.format in ("jpeg", "mpo"))


@cache
def source(name: str) -> bytes:
    return SOUND[name].file()


@timed
def test_no_damage_makes_the_c_code_err(tmp_path: Path) -> None:
    print(call_mutated(map(source, JPEGS), tmp_path, seconds=int(seconds_each()), rounds=5000, seed=1))


def made(data: bytes) -> bytes | str:
    try:
        return compress(data, Recipe(), max_pixels=100_000).data
    except CompressError as error:
        return f"{error.code}: {error.detail}"


@fuzz(name=st.sampled_from(JPEGS), changes=st.lists(mutations, max_size=3))
def test_damage_is_judged_as_by_the_pixels(name: str, changes: list[tuple[int, int, bytes, int]]) -> None:
    data = mutated(source(name), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        expected = made(data)
    result = made(data)
    if isinstance(result, str) or isinstance(expected, str):
        assert result == expected
    else:
        assert decoded(result).size == decoded(expected).size
        # Damage paints colours beyond black and white. Only the way by pixels clips them first.
        assert psnr(decoded(result), decoded(expected)) > 15
