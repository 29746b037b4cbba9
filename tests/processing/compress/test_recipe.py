"""Recipes: exact sizes, padding, trimming, smallest sizes, and several outputs of one picture."""

from dataclasses import replace

import pytest
import simplejpeg
from PIL import Image

from processing.compress import (
    Compressed,
    CompressError,
    OutputOptions,
    Recipe,
    check_minimum,
    compress,
    compress_isolated,
)
from processing.compress.scaling import Pixels
from tests.support import pictures
from tests.support.pictures import decoded, difference, encoded

CAP = 50_000_000
RED, BLUE = (255, 0, 0), (0, 0, 255)

# Source, width and height wanted, fit, and the size that has to come out, which sharp 0.35.5 and ImageMagick
# give too: sharp with withoutEnlargement, ImageMagick with ">" or, for cover, "^" and a crop at the centre.
SIZES = [
    ((1000, 750), (500, None), "inside", (500, 375)),
    ((1000, 750), (None, 500), "inside", (667, 500)),
    ((1000, 750), (500, 500), "inside", (500, 375)),
    ((1000, 750), (2000, 2000), "inside", (1000, 750)),
    ((1000, 750), (333, 333), "inside", (333, 250)),
    ((1333, 1000), (500, 500), "inside", (500, 375)),
    ((1000, 1333), (500, 500), "inside", (375, 500)),
    ((301, 200), (150, None), "inside", (150, 100)),
    ((301, 200), (None, 101), "inside", (152, 101)),
    ((301, 200), (301, 200), "inside", (301, 200)),
    ((301, 200), (300, 200), "inside", (300, 199)),
    ((3000, 7), (100, 100), "inside", (100, 1)),
    ((7, 3000), (100, 100), "inside", (1, 100)),
    ((1, 1), (50, 50), "inside", (1, 1)),
    ((200, 101), (100, None), "inside", (100, 51)),
    ((99, 201), (None, 100), "inside", (49, 100)),
    ((200, 3), (100, None), "inside", (100, 2)),
    ((5, 1000), (None, 100), "inside", (1, 100)),
    ((900, 200), (300, 300), "pad", (300, 300)),
    ((200, 900), (300, 300), "pad", (300, 300)),
    ((1000, 750), (500, 500), "pad", (500, 500)),
    ((301, 200), (400, 400), "pad", (400, 400)),
    ((301, 200), (250, 250), "pad", (250, 250)),
    ((1, 1), (3, 2), "pad", (3, 2)),
    ((1000, 750), (1000, 750), "pad", (1000, 750)),
    ((1000, 750), (101, 57), "pad", (101, 57)),
    ((3000, 7), (100, 100), "pad", (100, 100)),
    ((400, 300), (300, 400), "pad", (300, 400)),
    ((900, 200), (300, 300), "cover", (300, 200)),
    ((200, 900), (300, 300), "cover", (200, 300)),
    ((1000, 750), (300, 300), "cover", (300, 300)),
    ((750, 1000), (300, 300), "cover", (300, 300)),
    ((1000, 750), (400, 300), "cover", (400, 300)),
    ((1000, 750), (401, 300), "cover", (401, 300)),
    ((1000, 750), (2000, 100), "cover", (1000, 100)),
    ((1000, 750), (2000, 2000), "cover", (1000, 750)),
    ((301, 200), (100, 99), "cover", (100, 99)),
    ((1333, 1000), (333, 250), "cover", (333, 250)),
    ((7, 3000), (5, 5), "cover", (5, 5)),
    ((1, 1), (10, 10), "cover", (1, 1)),
]


def made(data: bytes, recipe: Recipe) -> Compressed:
    return compress(data, recipe, max_pixels=CAP)


def plain(width: int, height: int, colour: tuple[int, ...] = RED, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), colour)


def png(image: Image.Image) -> bytes:
    return encoded(image, "PNG")


@pytest.mark.parametrize(("source", "box", "fit", "size"), SIZES)
def test_sizes_are_exact(
    source: tuple[int, int], box: tuple[int | None, int | None], fit: str, size: tuple[int, int]
) -> None:
    for format in ("jpeg", "original"):
        result = made(png(plain(*source)), Recipe(format=format, width=box[0], height=box[1], fit=fit))
        assert (result.output.width, result.output.height) == decoded(result.data).size == size


@pytest.mark.parametrize(("source", "box", "fit", "size"), [case for case in SIZES if case[2] == "inside"])
def test_limits_give_the_sizes_of_a_box(
    source: tuple[int, int], box: tuple[int | None, int | None], fit: str, size: tuple[int, int]
) -> None:
    result = made(png(plain(*source)), Recipe(max_width=box[0], max_height=box[1]))
    assert decoded(result.data).size == size


def test_sizes_are_those_of_the_picture_as_it_is_displayed() -> None:
    source = pictures.rotated_jpeg(6, pictures.photo(300, 400))
    result = made(source, Recipe(width=150, height=100, fit="cover"))
    assert decoded(result.data).size == (150, 100)
    assert decoded(made(source, Recipe(width=150)).data).size == (150, 113)


# Pad


def test_a_smaller_picture_is_padded_in_the_middle_and_not_enlarged() -> None:
    result = made(png(plain(10, 21)), Recipe(format="original", width=31, height=30, fit="pad"))
    image = decoded(result.data)
    assert image.mode == "RGBA"
    assert image.getchannel("A").getbbox() == (10, 4, 20, 25)
    assert image.getpixel((10, 4)) == (*RED, 255)


@pytest.mark.parametrize(
    ("format", "background", "outside"),
    [
        ("jpeg", None, (255, 255, 255)),
        ("jpeg", "#0000ff", BLUE),
        ("webp", None, (0, 0, 0, 0)),
        ("avif", None, (0, 0, 0, 0)),
        ("original", None, (0, 0, 0, 0)),
        ("webp", "#0000ff", BLUE),
        ("original", "#0000ff", BLUE),
    ],
)
def test_a_padded_picture_is_transparent_around_where_it_can_be_unless_a_background_is_given(
    format: str, background: str | None, outside: tuple[int, ...]
) -> None:
    source = plain(20, 20, (255, 0, 0, 0), "RGBA")
    source.paste((255, 0, 0, 255), (8, 8, 12, 12))
    recipe = Recipe(quality=95, format=format, background=background, width=40, height=40, fit="pad")
    image = decoded(made(png(source), recipe).data)
    assert image.mode == ("RGBA" if len(outside) == 4 else "RGB")
    for place in ((0, 0), (39, 39), (12, 12), (27, 27)):  # outside, and where the source is transparent
        seen = image.getpixel(place)
        assert isinstance(seen, tuple)
        assert all(
            abs(a - b) < 12
            for a, b in zip(seen[-1:] if outside[3:] else seen, outside[3:] or outside, strict=True)
        )


def test_a_background_fills_a_padded_picture_of_the_right_size_too() -> None:
    source = png(plain(20, 20, (255, 0, 0, 0), "RGBA"))
    recipe = Recipe(format="original", background="#0000ff", width=20, height=20, fit="pad")
    assert decoded(made(source, recipe).data).getpixel((5, 5)) == BLUE


def test_a_picture_that_is_not_padded_keeps_its_transparency_whatever_the_background() -> None:
    source = png(plain(20, 20, (255, 0, 0, 0), "RGBA"))
    image = decoded(made(source, Recipe(format="original", background="#0000ff")).data)
    assert image.getchannel("A").getextrema() == (0, 0)
    image = decoded(made(source, Recipe(quality=95, background="#0000ff")).data)
    assert image.getpixel((5, 5)) == pytest.approx(BLUE, abs=3)


def test_grey_stays_grey_on_a_grey_background_only() -> None:
    source = png(Image.new("L", (20, 20), 80))
    recipe = Recipe(format="original", width=40, height=40, fit="pad", background="#808080")
    assert decoded(made(source, recipe).data).mode == "L"
    assert decoded(made(source, replace(recipe, background="#808081")).data).mode == "RGB"
    assert decoded(made(source, replace(recipe, background=None)).data).mode == "LA"


def test_no_picture_is_padded_to_more_pixels_than_the_limit() -> None:
    recipe = Recipe(format="original", width=65_535, height=65_535, fit="pad")
    for make in (compress, compress_isolated):
        with pytest.raises(CompressError) as caught:
            make(png(plain(20, 20)), recipe, max_pixels=CAP)
        assert caught.value.code == "too_many_pixels"


# Cover


def test_covering_keeps_the_centre() -> None:
    source = plain(300, 100)
    source.paste(BLUE, (90, 0, 210, 100))
    image = decoded(made(png(source), Recipe(format="original", width=50, height=50, fit="cover")).data)
    assert image.getcolors() == [(2500, BLUE)]


# Trim


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_borders_like_the_corner_are_trimmed(mode: str) -> None:
    bands = len(mode)
    source = Image.new(mode, (60, 40), (200,) * bands)
    source.paste((210,) * bands, (0, 35, 60, 40))  # 10 more: still the border
    source.paste((211,) * bands, (20, 10, 30, 25))
    image = decoded(made(png(source), Recipe(format="original", trim=True)).data)
    assert image.size == (10, 15)
    assert image.getextrema() == ((211, 211) if bands == 1 else ((211, 211),) * bands)


def test_transparency_is_a_channel_of_the_border_too() -> None:
    source = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    source.paste((0, 0, 0, 255), (20, 10, 30, 25))
    assert decoded(made(png(source), Recipe(format="webp", trim=True)).data).size == (10, 15)


def test_a_picture_that_is_all_border_stays_whole() -> None:
    assert decoded(made(png(plain(60, 40)), Recipe(trim=True)).data).size == (60, 40)


def test_the_corner_is_that_of_the_upright_picture_and_sizes_follow_the_trimmed_one() -> None:
    shown = plain(60, 40, (255, 255, 255))
    shown.paste(RED, (10, 10, 50, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = encoded(shown.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    image = decoded(made(stored, Recipe(format="original", trim=True, width=20)).data)
    assert image.size == (20, 10)
    assert image.getpixel((0, 0)) == RED


def test_a_jpeg_with_nothing_to_trim_is_made_as_without() -> None:
    source = pictures.photo_jpeg()
    assert made(source, Recipe(trim=True)).data == made(source, Recipe()).data


# Smallest sizes


@pytest.mark.parametrize(
    ("least", "sentence"),
    [
        ({"min_width": 500}, "The picture has 400 × 300 pixels. It must be at least 500 pixels wide."),
        ({"min_height": 1000}, "The picture has 400 × 300 pixels. It must be at least 1,000 pixels high."),
        (
            {"min_width": 100, "min_height": 301},
            "The picture has 400 × 300 pixels. It must be at least 100 × 301 pixels.",
        ),
    ],
)
def test_a_picture_that_is_too_small_is_refused(least: dict[str, int], sentence: str) -> None:
    source = pictures.rotated_jpeg(6, pictures.photo(300, 400))  # 400 wide as displayed
    for make in (compress, compress_isolated):
        with pytest.raises(CompressError) as caught:
            make(source, Recipe(trim=True, **least), max_pixels=CAP)  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.detail) == ("too_small", sentence)


def test_a_picture_of_exactly_the_smallest_size_is_accepted() -> None:
    check_minimum(400, 300, Recipe(min_width=400, min_height=300))


# Several outputs


def test_outputs_are_the_same_alone_and_together() -> None:
    source = pictures.photo_jpeg(640, 480)
    options = [
        OutputOptions(),
        OutputOptions(width=300),
        OutputOptions(width=100, height=100, fit="pad", format="webp"),
        OutputOptions(width=60, height=60, fit="cover", format="avif", quality=70),
    ]
    together = made(source, Recipe(renditions=tuple(options[1:])))
    alone = [made(source, Recipe().only([0]))]
    alone += [made(source, Recipe(renditions=tuple(options[1:])).only([index])) for index in (1, 2, 3)]
    for one, other in zip(together.outputs, alone, strict=True):
        assert (one.output.width, one.output.height, one.output.format, one.extension) == (
            other.output.width,
            other.output.height,
            other.output.format,
            other.extension,
        )
        assert difference(decoded(one.data).convert("RGB"), decoded(other.data).convert("RGB")) < 4
    assert together.data == alone[0].data


SMALL = tuple(OutputOptions(95, width=side, height=side, fit="pad") for side in (300, 200, 100, 50))


@pytest.mark.usefixtures("pixels_only")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("recipe", "times"),
    [
        (Recipe(max_width=500, renditions=SMALL), 1),
        (Recipe(quality=40, renditions=(OutputOptions(quality=30), *SMALL)), 1),
        (Recipe(quality=40, renditions=(OutputOptions(width=500), *SMALL)), 2),
        (Recipe(quality=40, renditions=SMALL[2:]), 2),
    ],
    ids=["scaled", "own size and half", "own size and large", "own size and small"],
)
def test_a_jpeg_is_decoded_once_where_that_is_faster_and_as_good(
    monkeypatch: pytest.MonkeyPatch, recipe: Recipe, times: int, mode: str
) -> None:
    calls = []
    decode = simplejpeg.decode_jpeg

    def counted(*args: object, **options: object) -> object:
        calls.append(args)
        return decode(*args, **options)

    source = encoded(pictures.photo(640, 480).convert(mode), "JPEG", quality=85)
    alone = [made(source, recipe.only([index])).outputs[0] for index in range(len(recipe.outputs))]
    monkeypatch.setattr(simplejpeg, "decode_jpeg", counted)
    together = made(source, recipe).outputs
    assert len(calls) == times
    for one, other in zip(together, alone, strict=True):
        assert difference(decoded(one.data), decoded(other.data)) < 2


def test_many_large_outputs_are_not_all_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    scaled = Pixels.scaled

    def counted(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
        nonlocal most
        image = scaled(pixels, size)
        most = max(most, sum(level.image.width * level.image.height for level in pixels._levels))
        return image

    monkeypatch.setattr(Pixels, "scaled", counted)
    renditions = tuple(OutputOptions(max_width=width) for width in range(399, 40, -20))
    made(png(pictures.photo(400, 300)), Recipe(renditions=renditions))
    assert 400 * 300 < most <= 2 * 400 * 300


def test_a_child_process_makes_the_same() -> None:
    source = pictures.photo_jpeg(320, 240)
    renditions = (OutputOptions(width=100, height=90, fit="pad", format="webp"), OutputOptions(max_width=50))
    recipe = Recipe(trim=True, min_width=10, background="#00ff00", renditions=renditions)
    assert compress_isolated(source, recipe, max_pixels=CAP) == made(source, recipe)


# The canonical form


def test_recipes_that_make_the_same_have_the_same_canonical_form() -> None:
    assert Recipe(max_width=100).canonical == Recipe(width=100).canonical
    assert Recipe(min_width=100).canonical == Recipe().canonical
    both = Recipe(renditions=(OutputOptions(width=50),))
    assert both.canonical[0] == Recipe().canonical[0]
    assert both.only([1]).canonical == both.canonical[1:]


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "original"])
@pytest.mark.parametrize("fit", ["inside", "cover", "pad"])
@pytest.mark.parametrize("background", ["#ffffff", "#0000ff"])
def test_a_background_is_in_the_canonical_form_exactly_if_it_can_be_seen(
    format: str, fit: str, background: str
) -> None:
    plain_recipe = Recipe(format=format, width=30, height=30, fit=fit)
    other = replace(plain_recipe, background=background)
    sources = [encoded(pictures.photo(60, 40).convert("RGBA"), form) for form in ("PNG", "WEBP")]
    sources += [png(plain(60, 40, (255, 0, 0, 0), "RGBA")), pictures.photo_jpeg(60, 40)]
    are_alike = all(made(source, plain_recipe).data == made(source, other).data for source in sources)
    if format == "original" and fit != "pad" and background == "#0000ff":
        assert are_alike, "only a HEIC with transparency would show it"
    else:
        assert (other.canonical == plain_recipe.canonical) == are_alike


@pytest.mark.parametrize(
    "other",
    [
        Recipe(quality=51),
        Recipe(format="webp"),
        Recipe(width=50),
        Recipe(height=50),
        Recipe(width=50, height=50, fit="pad"),
        Recipe(width=50, height=50, fit="cover"),
        Recipe(background="#fffffe"),
        Recipe(trim=True),
    ],
)
def test_recipes_that_make_something_else_have_another(other: Recipe) -> None:
    assert other.canonical != Recipe().canonical
