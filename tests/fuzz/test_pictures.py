"""Real files of pictures, mutated: compress() answers with a sound picture or with its own error."""

import warnings
from functools import cache

from hypothesis import strategies as st

from processing.compress import CompressError, Recipe, compress, compress_isolated
from tests.support.corpus import SOUND
from tests.support.effort import fuzz
from tests.support.pictures import decoded
from tests.support.reader import metadata, seen

CODES = {"corrupt_image", "too_many_pixels", "not_an_image", "unsupported_format"}

places = st.integers(0, 200) | st.integers(0, 20_000)  # most of what can go wrong stands at the start
numbers = st.sampled_from([b"\0", b"\xff", b"\x7f\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])
pieces = numbers | st.binary(max_size=8)
#: Where, how many bytes go, which come instead, and how many of those before are repeated.
mutations = st.tuples(places, st.sampled_from([0, 1, 2, 4, 8, 10**6]), pieces, st.sampled_from([0, 0, 0, 64]))


@cache
def source(name: str) -> bytes:
    return SOUND[name].file()


def mutated(data: bytes, changes: list[tuple[int, int, bytes, int]]) -> bytes:
    for place, gone, piece, repeated in changes:
        at = place % max(1, len(data))
        data = data[:at] + piece + data[at - min(at, repeated) : at] + data[at + gone :]
    return data


@fuzz(
    name=st.sampled_from(sorted(SOUND)),
    changes=st.lists(mutations, min_size=1, max_size=6),
    format=st.sampled_from(["jpeg", "webp", "original"]),
    max_width=st.sampled_from([None, 20]),
)
def test_no_damage_makes_anything_but_a_sound_picture_or_an_error_of_ours(
    name: str, changes: list[tuple[int, int, bytes, int]], format: str, max_width: int | None
) -> None:
    data = mutated(source(name), changes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of which damaged files make many
            result = compress(data, Recipe(format=format, max_width=max_width), max_pixels=100_000)
    except CompressError as error:
        assert error.code in CODES
    else:
        # What is kept of an AVIF has been accepted by a decoder that forgives more than libvips'.
        judge = decoded if result.kept and result.output.format == "avif" else seen
        assert judge(result.data).size == (result.output.width, result.output.height)
        assert metadata(result.data) == []


@fuzz(
    examples=5,
    name=st.sampled_from(sorted(SOUND)),
    changes=st.lists(mutations, min_size=1, max_size=6),
    format=st.sampled_from(["jpeg", "webp", "original"]),
)
def test_no_damage_does_more_than_end_the_child_process(
    name: str, changes: list[tuple[int, int, bytes, int]], format: str
) -> None:
    data = mutated(source(name), changes)
    try:
        result = compress_isolated(data, Recipe(format=format), max_pixels=100_000)
    except CompressError as error:
        assert error.code in CODES  # not `crashed`
    else:
        assert metadata(result.data) == []
