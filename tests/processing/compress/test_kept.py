"""No picture grows: where to encode it anew would take more bytes, its own data is kept, without metadata."""

import struct

import pytest
from PIL import ExifTags, Image, ImageCms

from processing.compress import Compressed, Recipe, compress
from tests.support import pictures
from tests.support.corpus import frames
from tests.support.pictures import decoded, encoded, png_chunk
from tests.support.reader import metadata, parts, seen

CAP = 50_000_000
TARGETS = {"JPEG": "jpeg", "PNG": "original", "WEBP": "webp", "AVIF": "avif"}
EXIF = Image.Exif()
EXIF[ExifTags.Base.Artist] = "SECRET"
EXIF.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSProcessingMethod] = b"SECRET"
METADATA: dict[str, object] = {
    "exif": EXIF,
    "xmp": b"<SECRET/>",
    "comment": b"SECRET",
    "icc_profile": pictures.srgb_profile(),
}
SHAPES = {
    "photograph": pictures.photo(96, 64),
    "large photograph": pictures.photo(600, 400),
    "one colour": Image.new("RGB", (64, 64), "teal"),
    "grey": pictures.photo(96, 64).convert("L"),
    "clear": pictures.cut_out(96, 64),
    "tiny": pictures.photo(7, 5),
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "a line": pictures.photo(301, 1),
}
STORED = [(format, name) for format in TARGETS for name in SHAPES if (format, name) != ("JPEG", "clear")]


def made(data: bytes, format: str, quality: int = 50, **limits: int) -> Compressed:
    return compress(data, Recipe(quality=quality, format=format, **limits), max_pixels=CAP)  # type: ignore[arg-type]


def shows_the_same(one: bytes, other: bytes) -> bool:
    return seen(one).tobytes() == seen(other).tobytes()


@pytest.mark.sample("quality", keep=2)
@pytest.mark.parametrize("quality", [5, 50, 95])
@pytest.mark.parametrize(("stored", "name"), STORED)
def test_no_picture_grows_in_its_own_format(stored: str, name: str, quality: int) -> None:
    source = encoded(SHAPES[name], stored, quality=quality)
    for format in (TARGETS[stored], "original"):
        result = made(source, format)
        assert len(result.data) <= len(source)
        assert result.output.bytes == len(result.data)
        assert not result.kept or shows_the_same(result.data, source)


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.sample("name", keep=2)
@pytest.mark.parametrize(("stored", "name"), STORED)
def test_what_was_compressed_harder_is_kept_without_its_metadata(stored: str, name: str) -> None:
    plain = encoded(SHAPES[name], stored, quality=5)
    source = encoded(SHAPES[name], stored, quality=5, **METADATA)
    result = made(source, TARGETS[stored], quality=95)
    assert result.kept
    assert len(result.data) <= len(plain) < len(source)
    assert b"SECRET" in source
    assert b"SECRET" not in result.data
    assert metadata(result.data) == []
    assert shows_the_same(result.data, source)
    assert decoded(result.data).tobytes() == decoded(plain).tobytes()


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.sample("name", keep=2)
@pytest.mark.parametrize(("stored", "name"), STORED)
def test_an_output_made_a_source_again_does_not_grow(stored: str, name: str) -> None:
    once = made(encoded(SHAPES[name], stored, quality=90), TARGETS[stored])
    twice = made(once.data, TARGETS[stored])
    assert len(twice.data) <= len(once.data)


@pytest.mark.parametrize("stored", ["JPEG", "WEBP", "AVIF"])
def test_what_has_much_to_lose_is_not_kept(stored: str) -> None:
    source = encoded(SHAPES["large photograph"], stored, quality=98)
    result = made(source, TARGETS[stored])
    assert not result.kept
    assert len(result.data) < len(source) / 2


# --- Where something else than the quality changes, the source's data will not do ---


@pytest.mark.parametrize("stored", TARGETS)
def test_a_picture_that_is_turned_scaled_or_of_other_colours_is_made_anew(stored: str) -> None:
    image, format = pictures.photo(96, 64), TARGETS[stored]
    turn = Image.Exif()
    turn[ExifTags.Base.Orientation] = 3
    assert not made(encoded(image, stored, quality=5, exif=turn), format, quality=95).kept
    assert not made(encoded(image, stored, quality=5), format, quality=95, max_width=95).kept
    foreign = encoded(image, stored, quality=5, icc_profile=pictures.display_p3_profile())
    assert not made(foreign, format, quality=95).kept


def test_inks_and_several_pictures_in_one_file_are_made_anew() -> None:
    assert not made(pictures.cmyk_jpeg(96, 64, quality=5), "jpeg", quality=95).kept
    assert not made(frames("MPO", quality=5), "jpeg", quality=95).kept


def test_an_avif_of_other_colours_than_srgbs_is_made_anew() -> None:
    source = bytearray(encoded(pictures.photo(96, 64), "AVIF", quality=5))
    colours = source.index(b"nclx") + 4
    assert struct.unpack_from(">HH", source, colours) == (1, 13)
    assert made(bytes(source), "avif", quality=95).kept
    struct.pack_into(">HH", source, colours, 12, 16)  # Display P3, and a curve for high dynamic range
    assert not made(bytes(source), "avif", quality=95).kept


# --- JPEG ---


def jpeg(**options: object) -> bytes:
    return encoded(pictures.photo(96, 64), "JPEG", quality=5, **options)


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"subsampling": "4:4:4"},
        {"restart_marker_blocks": 1},
        {"keep_rgb": True},
        {"optimize": True},
    ],
)
def test_every_kind_of_jpeg_is_kept(options: dict[str, object]) -> None:
    source = jpeg(**METADATA, **options)
    result = made(source, "jpeg", quality=95)
    assert result.kept
    assert len(result.data) <= len(jpeg(**options))
    assert metadata(result.data) == []
    assert shows_the_same(result.data, source)


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.parametrize("trailer", [b"garbage" * 999, jpeg(), b"\xff\xd9", b"\xff\xff"])
def test_what_follows_a_jpeg_goes(trailer: bytes) -> None:
    result = made(jpeg() + trailer, "jpeg", quality=95)
    assert result.kept
    assert result.data == jpeg()


@pytest.mark.usefixtures("jpeg_path")
def test_what_is_odd_about_a_jpeg_does_not_stay() -> None:
    source = jpeg()[:-2] + b"stray\xff\xd9"
    result = made(source, "jpeg", quality=50)
    assert not result.kept
    assert b"stray" not in result.data


@pytest.mark.usefixtures("jpeg_path")
def test_a_thumbnail_within_jfif_goes() -> None:
    plain = jpeg()
    assert plain[2:6] == b"\xff\xe0\0\x10"
    jfif = plain[6:18] + bytes([3, 2]) + b"SECRETSECRETSECRET"
    source = plain[:2] + b"\xff\xe0" + (2 + len(jfif)).to_bytes(2) + jfif + plain[20:]
    assert made(source, "jpeg", quality=95).data == plain


@pytest.mark.usefixtures("jpeg_path")
def test_metadata_between_the_scans_of_a_progressive_jpeg_goes() -> None:
    plain = jpeg(progressive=True)
    second = plain.index(b"\xff\xc4", plain.index(b"\xff\xda"))
    source = plain[:second] + b"\xff\xfe\0\x08SECRET" + plain[second:]
    assert made(source, "jpeg", quality=95).data == plain


# --- PNG ---


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_kept_when_smaller(mode: str) -> None:
    image = pictures.cut_out(96, 64).quantize(16) if mode == "P" else pictures.photo(96, 64)
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    source = encoded(image, "PNG", optimize=True, **METADATA)
    result = made(source, "original")
    assert len(result.data) <= len(encoded(image, "PNG", optimize=True))
    assert metadata(result.data) == []
    assert shows_the_same(result.data, source) or mode == "I;16"


def test_what_says_nothing_of_the_picture_in_a_png_goes() -> None:
    plain = encoded(pictures.photo(96, 64).quantize(8), "PNG")
    more = (
        png_chunk(b"tEXt", b"Comment\0SECRET") + png_chunk(b"tIME", bytes(7)) + png_chunk(b"prVt", b"SECRET")
    )
    source = (
        plain[:33] + png_chunk(b"gAMA", struct.pack(">I", 45455)) + more + plain[33:-12] + more + plain[-12:]
    )
    assert made(source + b"SECRET", "original").data == plain


def test_a_png_whose_damage_decoders_overlook_is_kept_without_it() -> None:
    plain = encoded(pictures.photo(96, 64).quantize(8), "PNG")
    checksum = plain.index(b"IEND") - 8
    source = plain[:checksum] + bytes(4) + plain[checksum + 4 :]
    assert made(plain, "original").kept
    assert made(source, "original").data == made(plain, "original").data


def test_of_an_animated_png_the_first_frame_is_kept() -> None:
    image = pictures.photo(96, 64).quantize(8)
    result = made(frames("PNG", image), "original")
    assert result.kept
    assert set(parts(result.data)) == {"IHDR", "PLTE", "IDAT", "IEND"}
    assert shows_the_same(result.data, encoded(image, "PNG"))


# --- WebP and AVIF ---


def test_of_an_animated_webp_the_first_frame_is_kept() -> None:
    source = frames("WEBP", pictures.photo(96, 64), quality=5, **METADATA)
    result = made(source, "webp", quality=95)
    assert result.kept
    assert parts(result.data) == ["VP8 "]
    assert shows_the_same(result.data, source)


def test_a_frame_that_covers_only_a_part_is_made_anew() -> None:
    image = Image.new("RGBA", (96, 64))
    image.paste(pictures.photo(32, 32), (32, 16))
    source = frames("WEBP", image, quality=5, **METADATA)
    result = made(source, "webp", quality=5)
    assert not result.kept
    assert len(result.data) < len(source)


def test_a_sequence_in_an_avif_is_made_anew() -> None:
    source = frames("AVIF", quality=5)
    result = made(source, "avif", quality=20)
    assert not result.kept
    assert metadata(result.data) == []


def test_thumbnails_and_other_pictures_in_an_avif_go() -> None:
    source = encoded(pictures.cut_out(96, 64), "AVIF", quality=5, **METADATA)
    result = made(source, "avif", quality=95)
    assert result.kept
    assert parts(result.data).count("infe av01") == 2  # colours and transparency


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        *[(stored, kind) for stored in ("JPEG", "WEBP", "AVIF") for kind in ("exif", "xmp", "icc_profile")],
        *[("JPEG", "comment"), ("PNG", "exif"), ("PNG", "icc_profile")],
    ],
)
def test_the_reader_of_these_tests_finds_what_has_to_go(stored: str, kind: str) -> None:
    assert metadata(encoded(pictures.photo(96, 64), stored, **{kind: METADATA[kind]}))


def test_a_profile_for_srgb_by_another_name_is_no_reason_to_make_a_picture_anew() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"mine")
    result = made(jpeg(icc_profile=profile), "jpeg", quality=95)
    assert result.kept
