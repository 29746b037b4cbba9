"""A picture in every format, mode and layout there is, each with what any viewer shows of it."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pillow_heif
import pyvips
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from tests.support import pictures
from tests.support.pictures import encoded

pillow_heif.register_heif_opener()

Make = Callable[[], bytes]
WHOLE = pictures.photo(96, 64)
GREY = WHOLE.convert("L")
CLEAR = pictures.cut_out(96, 64)
#: What a format, or the decoders' ways to read it, cost on average of a channel.
LOSSLESS, LOSSY, COARSE = 1.5, 4.0, 12.0


@dataclass(frozen=True)
class Sound:
    """A picture that has to be accepted: its file, what it shows, and how well it can show it."""

    format: str
    file: Make
    shows: Image.Image = field(default_factory=lambda: WHOLE)
    tolerance: float = LOSSLESS


def vips(image: Image.Image) -> pyvips.Image:
    """The picture in the hands of another library, which writes what Pillow does not."""
    return pyvips.Image.new_from_memory(image.tobytes(), *image.size, len(image.getbands()), "uchar").copy(
        interpretation="srgb" if image.mode.startswith("RGB") else "b-w"
    )


def deep(image: Image.Image) -> pyvips.Image:
    """The picture in 16 bits to a channel."""
    return (
        (vips(image) * 257).cast("ushort").copy(interpretation="rgb16" if "RGB" in image.mode else "grey16")
    )


def turned(format: str, orientation: int) -> Make:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return file(stored_as(WHOLE, orientation), format, quality=95, exif=exif.tobytes())


def stored_as(image: Image.Image, orientation: int) -> Image.Image:
    """The pixels that ``orientation`` makes this picture of (Exif 2.32, section 4.6.4)."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image.transpose(back[orientation]) if orientation in back else image


def frames(format: str, image: Image.Image = WHOLE, **options: object) -> bytes:
    others = [image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return encoded(image, format, save_all=True, append_images=others, **options)


def ycck_jpeg() -> bytes:
    """Return CMYK as Photoshop stores it: inks as brightness and colour, named by Adobe's marker."""
    *inks, black = WHOLE.convert("CMYK").split()
    # Pillow inverts what it writes as CMYK, and the decoder inverts the inks that it makes of YCC.
    colours = Image.merge("RGB", inks).convert("YCbCr").split()
    channels = [channel.point(lambda value: 255 - value) for channel in colours]
    data = bytearray(encoded(Image.merge("CMYK", [*channels, black]), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def rgba_bmp() -> bytes:
    """A bitmap whose header (BITMAPV4HEADER) gives a mask for transparency."""
    width, height = CLEAR.size
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, -height, 1, 32, 3, 0, 0, 0, 0, 0) + masks + b"BGRs"
    pixels = CLEAR.tobytes("raw", "BGRA")
    start = 14 + 108
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + header.ljust(108, b"\0") + pixels


def lab_tiff() -> bytes:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return encoded(ImageCms.buildTransform(srgb, lab, "RGB", "LAB").apply(WHOLE), "TIFF")


def min_is_white_tiff(image: Image.Image) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 0
    return encoded(image, "TIFF", tiffinfo=tags)


def keyed(mode: str) -> bytes:
    """A PNG in which one colour counts as transparent."""
    key: int | tuple[int, ...] = (1, 2, 3) if mode == "RGB" else 1
    image = SIXTEEN_BITS.copy() if mode == "I;16" else CLEAR.convert(mode)
    image.paste(key, (0, 0, 48, 64))
    return encoded(image.convert(mode), "PNG", transparency=key)


def png(image: pyvips.Image, **options: object) -> Make:
    return lambda: bytes(image.pngsave_buffer(**options))


def tiff(image: pyvips.Image, **options: object) -> Make:
    return lambda: bytes(image.tiffsave_buffer(**options))


def file(image: Image.Image, format: str, **options: object) -> Make:
    return lambda: encoded(image, format, **options)


def jpeg(image: Image.Image = WHOLE, **options: object) -> Make:
    return file(image, "JPEG", **{"quality": 95, **options})


PALETTE = WHOLE.quantize(64)
LINES = GREY.point(lambda value: 255 if value > 128 else 0).convert("1")
FOUR_GREYS = GREY.point(lambda value: value // 64 * 85)
SIXTEEN_GREYS = GREY.point(lambda value: value // 16 * 17)
CLEAR_GREY = CLEAR.convert("LA")
SIXTEEN_BITS = GREY.convert("I").point(lambda value: value * 257)

JPEGS = {
    **{
        f"{sampling} {'progressive' if progressive else 'baseline'}": Sound(
            "jpeg", jpeg(subsampling=sampling, progressive=progressive), tolerance=LOSSY
        )
        for sampling in ("4:4:4", "4:2:2", "4:2:0")
        for progressive in (False, True)
    },
    **{f"orientation {turn}": Sound("jpeg", turned("JPEG", turn), tolerance=LOSSY) for turn in range(1, 9)},
    "grey": Sound("jpeg", jpeg(GREY), GREY),
    "grey progressive": Sound("jpeg", jpeg(GREY, progressive=True), GREY),
    "optimized": Sound("jpeg", jpeg(optimize=True), tolerance=LOSSY),
    "restarts": Sound("jpeg", jpeg(restart_marker_blocks=2), tolerance=LOSSY),
    "RGB inside": Sound("jpeg", jpeg(keep_rgb=True)),
    "CMYK": Sound("jpeg", jpeg(WHOLE.convert("CMYK"))),
    "CMYK progressive": Sound("jpeg", jpeg(WHOLE.convert("CMYK"), progressive=True)),
    "YCCK": Sound("jpeg", ycck_jpeg, tolerance=LOSSY),
    "trailing garbage": Sound("jpeg", lambda: jpeg()() + b"garbage" * 999, tolerance=LOSSY),
    "trailing picture": Sound("jpeg", lambda: jpeg()() + jpeg(GREY)(), tolerance=LOSSY),
    "stray bytes": Sound("jpeg", lambda: jpeg()()[:-2] + b"stray\xff\xd9", tolerance=LOSSY),
    "comment": Sound("jpeg", jpeg(comment=b"a comment"), tolerance=LOSSY),
    "MPO": Sound("mpo", lambda: frames("MPO", quality=95), tolerance=LOSSY),
}
PNGS = {
    "1": Sound("png", file(LINES, "PNG"), LINES),
    "L": Sound("png", file(GREY, "PNG"), GREY),
    "L in 2 bits": Sound("png", png(vips(FOUR_GREYS), bitdepth=2), FOUR_GREYS),
    "L in 4 bits": Sound("png", png(vips(SIXTEEN_GREYS), bitdepth=4), SIXTEEN_GREYS),
    "LA": Sound("png", file(CLEAR_GREY, "PNG"), CLEAR_GREY),
    "P": Sound("png", file(PALETTE, "PNG"), PALETTE, LOSSY),
    "P in 4 bits": Sound("png", file(WHOLE.quantize(16), "PNG"), WHOLE.quantize(16), LOSSY),
    "P in 1 bit": Sound("png", file(WHOLE.quantize(2), "PNG"), WHOLE.quantize(2), LOSSY),
    "P with a clear colour": Sound("png", lambda: pictures.palette_png(96, 64), CLEAR, COARSE),
    "P half clear": Sound("png", file(CLEAR.quantize(64), "PNG"), CLEAR, COARSE),
    "RGB": Sound("png", file(WHOLE, "PNG")),
    "RGB with a clear colour": Sound("png", lambda: keyed("RGB"), CLEAR),
    "L with a clear grey": Sound("png", lambda: keyed("L"), CLEAR_GREY),
    "RGBA": Sound("png", file(CLEAR, "PNG"), CLEAR),
    "16-bit grey": Sound("png", file(SIXTEEN_BITS.convert("I;16"), "PNG"), GREY),
    "16-bit grey with a clear one": Sound("png", lambda: keyed("I;16"), CLEAR_GREY),
    "16-bit LA": Sound("png", png(deep(CLEAR_GREY)), CLEAR_GREY),
    "16-bit RGB": Sound("png", png(deep(WHOLE))),
    "16-bit RGBA": Sound("png", png(deep(CLEAR)), CLEAR),
    "interlaced": Sound("png", png(vips(WHOLE), interlace=True)),
    "interlaced RGBA": Sound("png", png(vips(CLEAR), interlace=True), CLEAR),
    "animated": Sound("png", lambda: frames("PNG")),
    "animated with another default": Sound("png", lambda: frames("PNG", default_image=True)),
    "orientation 6": Sound("png", turned("PNG", 6)),
}
GIFS = {
    "P": Sound("gif", file(PALETTE, "GIF"), PALETTE, LOSSY),
    "L": Sound("gif", file(GREY, "GIF"), GREY),
    "1": Sound("gif", file(LINES, "GIF"), LINES),
    "clear": Sound("gif", file(CLEAR, "GIF"), CLEAR, COARSE),
    "not interlaced": Sound("gif", file(PALETTE, "GIF", interlace=0), PALETTE, LOSSY),
    "animated": Sound("gif", lambda: frames("GIF", PALETTE), PALETTE, LOSSY),
}
BMPS = {
    "1": Sound("bmp", file(LINES, "BMP"), LINES),
    "L": Sound("bmp", file(GREY, "BMP"), GREY),
    "P": Sound("bmp", file(PALETTE, "BMP"), PALETTE, LOSSY),
    "RGB": Sound("bmp", file(WHOLE, "BMP")),
    "RGBA": Sound("bmp", rgba_bmp, CLEAR),
    "RGB and a byte without meaning": Sound("bmp", file(CLEAR, "BMP"), CLEAR.convert("RGB")),
}
TIFFS = {
    "1": Sound("tiff", file(LINES, "TIFF"), LINES),
    "1 as a fax": Sound("tiff", file(LINES, "TIFF", compression="group4"), LINES),
    "L": Sound("tiff", file(GREY, "TIFF"), GREY),
    "L with white as 0": Sound("tiff", lambda: min_is_white_tiff(GREY), GREY),
    "LA": Sound("tiff", file(CLEAR_GREY, "TIFF"), CLEAR_GREY),
    "P": Sound("tiff", file(PALETTE, "TIFF"), PALETTE, LOSSY),
    "PA": Sound("tiff", file(CLEAR.quantize(64).convert("PA"), "TIFF"), CLEAR, COARSE),
    "RGBA": Sound("tiff", file(CLEAR, "TIFF"), CLEAR),
    "CMYK": Sound("tiff", file(WHOLE.convert("CMYK"), "TIFF")),
    "YCbCr": Sound("tiff", file(WHOLE.convert("YCbCr"), "TIFF"), tolerance=LOSSY),
    "LAB": Sound("tiff", lab_tiff, tolerance=LOSSY),
    "I;16": Sound("tiff", file(SIXTEEN_BITS.convert("I;16"), "TIFF"), GREY),
    "I;16B": Sound("tiff", file(SIXTEEN_BITS.convert("I;16B"), "TIFF"), GREY),
    "I": Sound("tiff", file(GREY.convert("I"), "TIFF"), GREY),
    "F": Sound("tiff", file(GREY.convert("F"), "TIFF"), GREY),
    "16-bit RGB": Sound("tiff", tiff(deep(WHOLE))),
    "16-bit RGBA": Sound("tiff", tiff(deep(CLEAR)), CLEAR),
    "LZW": Sound("tiff", file(WHOLE, "TIFF", compression="tiff_lzw")),
    "deflate": Sound("tiff", file(WHOLE, "TIFF", compression="tiff_adobe_deflate")),
    "packbits": Sound("tiff", file(WHOLE, "TIFF", compression="packbits")),
    "JPEG": Sound("tiff", file(WHOLE, "TIFF", compression="jpeg", quality=95), tolerance=LOSSY),
    "tiles": Sound("tiff", tiff(vips(WHOLE), tile=True, tile_width=32, tile_height=32)),
    "compressed tiles": Sound(
        "tiff", tiff(vips(WHOLE), tile=True, compression="deflate", tile_width=128, tile_height=128)
    ),
    "BigTIFF": Sound("tiff", tiff(vips(WHOLE), bigtiff=True)),
    "pages": Sound("tiff", lambda: frames("TIFF")),
    "orientation 6": Sound("tiff", turned("TIFF", 6)),
}
WEBPS = {
    "lossy": Sound("webp", file(WHOLE, "WEBP", quality=95), tolerance=LOSSY),
    "lossless": Sound("webp", file(WHOLE, "WEBP", lossless=True)),
    "lossy and clear": Sound("webp", file(CLEAR, "WEBP", quality=95), CLEAR, LOSSY),
    "lossless and clear": Sound("webp", file(CLEAR, "WEBP", lossless=True), CLEAR),
    "animated": Sound("webp", lambda: frames("WEBP", quality=95), tolerance=LOSSY),
    "orientation 6": Sound("webp", turned("WEBP", 6), tolerance=LOSSY),
}
AVIFS = {
    "4:2:0": Sound("avif", file(WHOLE, "AVIF", quality=90), tolerance=LOSSY),
    "4:4:4": Sound("avif", file(WHOLE, "AVIF", quality=90, subsampling="4:4:4"), tolerance=LOSSY),
    "grey": Sound("avif", file(GREY, "AVIF", quality=90, subsampling="4:0:0"), GREY, LOSSY),
    "clear": Sound("avif", file(CLEAR, "AVIF", quality=90), CLEAR, LOSSY),
    "10-bit": Sound(
        "avif",
        lambda: bytes(deep(WHOLE).heifsave_buffer(compression="av1", bitdepth=10, Q=90)),
        tolerance=LOSSY,
    ),
    "animated": Sound("avif", lambda: frames("AVIF", quality=90), tolerance=LOSSY),
    **{f"orientation {turn}": Sound("avif", turned("AVIF", turn), tolerance=LOSSY) for turn in (3, 6, 7)},
}
HEICS = {
    "RGB": Sound("heif", file(WHOLE, "HEIF", quality=95), tolerance=LOSSY),
    "grey": Sound("heif", file(GREY, "HEIF", quality=95), GREY, LOSSY),
    "clear": Sound("heif", file(CLEAR, "HEIF", quality=95), CLEAR, LOSSY),
    "several": Sound("heif", lambda: frames("HEIF", quality=95, primary_index=0), tolerance=LOSSY),
    **{f"orientation {turn}": Sound("heif", turned("HEIF", turn), tolerance=LOSSY) for turn in range(1, 9)},
}
SOUND = {
    f"{format}: {name}": sound
    for format, group in {
        **{"JPEG": JPEGS, "PNG": PNGS, "GIF": GIFS, "BMP": BMPS},
        **{"TIFF": TIFFS, "WebP": WEBPS, "AVIF": AVIFS, "HEIC": HEICS},
    }.items()
    for name, sound in group.items()
}
