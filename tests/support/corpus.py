"""A picture in every format, mode and layout there is, each with what any viewer shows of it."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pillow_heif
import pyvips
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from tests.support import pictures
from tests.support import rare_pictures as rare
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
    #: Bytes that the file lacks at its end.
    missing: int = 0


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


def ultra_hdr() -> bytes:
    """Return an Ultra HDR picture: a JPEG for every display, followed by its gain map."""
    gain_map = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
        b'hdrgm:GainMapMax="3" hdrgm:HDRCapacityMax="3"/></rdf:RDF></x:xmpmeta>'
    )
    options: dict[str, object] = {"quality": 95, "xmp": gain_map}
    return encoded(WHOLE, "MPO", save_all=True, append_images=[GREY.resize((48, 32))], **options)


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
FEW = WHOLE.quantize(4)
BARE = Image.merge(
    "RGB",
    [
        band.point([round(value * top / 255) * (255 / top) for value in range(256)])
        for band, top in zip(WHOLE.split(), (3, 7, 1), strict=True)
    ],
)
LINES = GREY.point(lambda value: 255 if value > 128 else 0).convert("1")
FOUR_GREYS = GREY.point(lambda value: value // 64 * 85)
SIXTEEN_GREYS = GREY.point(lambda value: value // 16 * 17)
CLEAR_GREY = CLEAR.convert("LA")
SIXTEEN_BITS = GREY.convert("I").point(lambda value: value * 257)


def samples(image: Image.Image, kind: str, white: float) -> NDArray[np.generic]:
    """The picture in numbers of another type."""
    values = np.asarray(image).reshape(image.height, image.width, -1)
    return (values * (white / 255)).astype(kind)


def faded(image: Image.Image) -> Image.Image:
    """The picture with a transparency that rises from left to right."""
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    return clear


def inks(alpha: Image.Image) -> NDArray[np.uint8]:
    """CMYK with transparency."""
    return np.dstack([np.asarray(WHOLE.convert("CMYK")), np.asarray(alpha)])


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
    "no end": Sound("jpeg", lambda: jpeg()()[:-2], tolerance=LOSSY, missing=2),
    "no end, padded": Sound("jpeg", lambda: jpeg()()[:-2] + bytes(999), tolerance=LOSSY),
    "progressive, no end": Sound("jpeg", lambda: jpeg(progressive=True)()[:-2], tolerance=LOSSY, missing=2),
    "progressive, last scan cut": Sound("jpeg", lambda: jpeg(progressive=True)()[:-99], tolerance=LOSSY),
    "MPO": Sound("mpo", lambda: frames("MPO", quality=95), tolerance=LOSSY),
    "Ultra HDR": Sound("jpeg", ultra_hdr, tolerance=LOSSY),
}
#: What browsers overlook in a PNG.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "text of 5 MB": lambda png: rare.with_chunks(
        png, pictures.png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(5_000_000)))
    ),
    "Unicode text of 5 MB": lambda png: rare.with_chunks(
        png, pictures.png_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(5_000_000)))
    ),
    "profile of 2 MB": lambda png: rare.with_chunks(
        png, pictures.png_chunk(b"iCCP", b"k\0\0" + zlib.compress(pictures.srgb_profile() + bytes(2_000_000)))
    ),
    "profile that is none": lambda png: rare.with_chunks(png, pictures.png_chunk(b"iCCP", b"k\0\0none")),
    "profile with a wrong checksum": lambda png: rare.with_chunks(png, rare.damaged(b"iCCP", b"k\0\0none")),
    "text with a wrong checksum": lambda png: rare.with_chunks(png, rare.damaged(b"tEXt", b"k\0none")),
    "gamma with a wrong checksum": lambda png: rare.with_chunks(png, rare.damaged(b"gAMA", bytes(4))),
    "gamma of one byte": lambda png: rare.with_chunks(png, pictures.png_chunk(b"gAMA", b"\1")),
    "resolution of one byte": lambda png: rare.with_chunks(png, pictures.png_chunk(b"pHYs", b"\1")),
    "intent of no byte": lambda png: rare.with_chunks(png, pictures.png_chunk(b"sRGB", b"")),
    "transparency of one byte": lambda png: rare.with_chunks(png, pictures.png_chunk(b"tRNS", b"\0")),
    "animation of no byte": lambda png: rare.with_chunks(png, pictures.png_chunk(b"acTL", b"")),
    "wrong Adler-32": lambda png: rare.with_pixels(png, rare.pixels(png)[:-4] + b"none"),
    "no Adler-32": lambda png: rare.with_pixels(png, rare.pixels(png)[:-4]),
    "more behind the pixels": lambda png: rare.with_pixels(png, rare.pixels(png) + b"more"),
    "no end": lambda png: png[:-12],
}
MISSING = {"no Adler-32": 4, "no end": 12}
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
    "animated with another default": Sound(
        "png", lambda: frames("PNG", default_image=True), WHOLE.rotate(180)
    ),
    "orientation 6": Sound("png", turned("PNG", 6)),
    **{
        damage: Sound("png", partial(make, encoded(WHOLE, "PNG")), missing=MISSING.get(damage, 0))
        for damage, make in DAMAGE.items()
    },
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
    "masks of 32 bits": Sound("bmp", lambda: rare.bitmap(WHOLE, 32, (0xFF000000, 0xFF0, 0xFF0000))),
    "masks of 11, 11 and 10 bits": Sound(
        "bmp", lambda: rare.bitmap(WHOLE, 32, (0xFFE00000, 0x1FFC00, 0x3FF))
    ),
    "masks of 2, 3 and 1 bits": Sound("bmp", lambda: rare.bitmap(BARE, 16, (0x30, 0xE, 0x1)), BARE, COARSE),
    "masks with transparency": Sound(
        "bmp", lambda: rare.bitmap(CLEAR, 32, (0xFF000000, 0xFF00, 0xFF, 0xFF0000)), CLEAR
    ),
    "palette of 2 bits": Sound("bmp", lambda: rare.palette_bitmap(FEW, 2, 4), FEW.convert("RGB"), COARSE),
    "palette of 300 colours": Sound("bmp", lambda: rare.palette_bitmap(PALETTE, 8, 300), PALETTE, LOSSY),
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
    "16-bit RGB in planes": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "u2", 65_535), 2, in_planes=True)),
    "16-bit RGB in planes, MM": Sound(
        "tiff", lambda: rare.tiff(samples(WHOLE, "u2", 65_535), 2, in_planes=True, order=">")
    ),
    "16-bit RGB in planes of tiles": Sound(
        "tiff", lambda: rare.tiff(samples(WHOLE, "u2", 65_535), 2, in_planes=True, tile=64, predictor=2)
    ),
    "16-bit RGBA in planes": Sound(
        "tiff", lambda: rare.tiff(samples(CLEAR, "u2", 65_535), 2, extra=2, in_planes=True), CLEAR
    ),
    "16-bit LA": Sound("tiff", lambda: rare.tiff(samples(CLEAR_GREY, "u2", 65_535), 1, extra=2), CLEAR_GREY),
    "16-bit CMYK in planes": Sound(
        "tiff", lambda: rare.tiff(samples(WHOLE.convert("CMYK"), "u2", 65_535), 5, in_planes=True)
    ),
    "32-bit RGB": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "u4", 2**32 - 1), 2)),
    "32-bit RGB, predicted": Sound(
        "tiff", lambda: rare.tiff(samples(WHOLE, "u4", 2**32 - 1), 2, predictor=2)
    ),
    "float RGB": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "f4", 1), 2)),
    "float RGB, MM": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "f4", 1), 2, order=">")),
    "float RGBA": Sound("tiff", lambda: rare.tiff(samples(CLEAR, "f4", 1), 2, extra=2), CLEAR),
    "float RGB, predicted": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "f4", 1), 2, predictor=3)),
    "float RGB, predicted tiles": Sound(
        "tiff", lambda: rare.tiff(samples(WHOLE, "f4", 1), 2, predictor=3, tile=64, order=">")
    ),
    "half float RGB": Sound("tiff", lambda: rare.tiff(samples(WHOLE, "f2", 1), 2, predictor=3)),
    "double grey": Sound("tiff", lambda: rare.tiff(samples(GREY, "f8", 1), 1), GREY),
    "CMYK with transparency": Sound(
        "tiff", lambda: rare.tiff(inks(CLEAR.getchannel("A")), 5, extra=2), CLEAR, LOSSY
    ),
    "CMYK with transparency in planes": Sound(
        "tiff", lambda: rare.tiff(inks(CLEAR.getchannel("A")), 5, extra=2, in_planes=True), CLEAR, LOSSY
    ),
    "WebP inside": Sound("tiff", lambda: rare.tiff_of_files(WHOLE, 50001, "WEBP")),
    "WebP tiles inside": Sound("tiff", lambda: rare.tiff_of_files(WHOLE, 50001, "WEBP", 64)),
    "WebP inside, clear": Sound("tiff", lambda: rare.tiff_of_files(CLEAR, 50001, "WEBP"), CLEAR),
    "JPEG 2000 inside": Sound("tiff", lambda: rare.tiff_of_files(WHOLE, 34712, "JPEG2000")),
    "JPEG 2000 tiles inside": Sound("tiff", lambda: rare.tiff_of_files(WHOLE, 34712, "JPEG2000", 64)),
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
WIDE = WHOLE.resize((48, 32)).resize((96, 64), Image.Resampling.BICUBIC)  # soft, as codecs like it
CODES = {"Display P3": (12, 13), "BT.2020": (9, 1), "PQ": (9, 16), "HLG": (9, 18), "PQ in P3": (12, 16)}
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
#: Pictures whose colours are not sRGB: a browser says what they show.
COLOURED: dict[str, Make] = {
    **{
        f"PNG: gamma {gamma} of {mode}": lambda gamma=gamma, image=image: rare.with_chunks(  # type: ignore[misc]
            encoded(image, "PNG"), rare.gamma(gamma)
        )
        for gamma in (1.0, 0.55, 0.45455)
        for mode, image in (("RGB", WHOLE), ("L", GREY), ("P", PALETTE), ("RGBA", CLEAR))
    },
    **{
        f"PNG: gamma {gamma}, primaries of {name}": lambda gamma=gamma, white=white: rare.with_chunks(  # type: ignore[misc]
            encoded(WHOLE, "PNG"), rare.gamma(gamma), rare.primaries(*white)
        )
        for gamma in (0.55, 0.4547)
        for name, white in (("sRGB", SRGB), ("Adobe RGB", ADOBE))
    },
    "PNG: gamma and sRGB": lambda: rare.with_chunks(
        encoded(WHOLE, "PNG"), rare.gamma(1), pictures.png_chunk(b"sRGB", b"\0")
    ),
    "PNG: primaries without gamma": lambda: rare.with_chunks(encoded(WHOLE, "PNG"), rare.primaries(*ADOBE)),
    "PNG: primaries that are none": lambda: rare.with_chunks(
        encoded(WHOLE, "PNG"), rare.gamma(1), rare.primaries(*[0.3] * 8)
    ),
    **{
        f"PNG: {name} of {mode}": lambda codes=codes, image=image: rare.with_chunks(  # type: ignore[misc]
            encoded(image, "PNG"), rare.codes(*codes)
        )
        for name, codes in CODES.items()
        for mode, image in (("RGB", WHOLE), ("L", GREY), ("RGBA", CLEAR))
    },
    "PNG: codes before a profile": lambda: rare.with_chunks(
        encoded(WHOLE, "PNG", icc_profile=pictures.swapped_profile()), rare.codes(12, 13)
    ),
    **{
        f"PNG: profile of {name}": lambda profile=profile: encoded(WHOLE, "PNG", icc_profile=profile)  # type: ignore[misc]
        for name, profile in (
            ("Display P3", pictures.display_p3_profile()),
            ("Adobe RGB", pictures.adobe_rgb_profile()),
            ("swapped colours", pictures.swapped_profile()),
        )
    },
    **{
        f"AVIF: {name}": lambda codes=codes: rare.with_nclx(  # type: ignore[misc]
            encoded(WIDE, "AVIF", quality=100, subsampling="4:4:4"), *codes
        )
        for name, codes in CODES.items()
    },
    **{
        f"{format}: profile of Display P3": lambda format=format: encoded(  # type: ignore[misc]
            WIDE, format, quality=95, icc_profile=pictures.display_p3_profile()
        )
        for format in ("JPEG", "WebP", "AVIF")
    },
}
JPEGS_2000 = {
    "RGB": Sound("jpeg2000", file(WHOLE, "JPEG2000")),
    "RGBA": Sound("jpeg2000", file(CLEAR, "JPEG2000"), CLEAR),
    "L": Sound("jpeg2000", file(GREY, "JPEG2000"), GREY),
    "I;16": Sound("jpeg2000", file(SIXTEEN_BITS.convert("I;16"), "JPEG2000"), GREY),
    "codestream": Sound("jpeg2000", file(WHOLE, "JPEG2000", no_jp2=True)),
    "tiles": Sound("jpeg2000", file(WHOLE, "JPEG2000", tile_size=(32, 32))),
    "lossy": Sound(
        "jpeg2000",
        file(WHOLE, "JPEG2000", irreversible=True, quality_mode="dB", quality_layers=[42]),
        tolerance=LOSSY,
    ),
}
PHOTOSHOP = {
    "RGB": Sound("psd", lambda: rare.photoshop(WHOLE, 3)),
    "L": Sound("psd", lambda: rare.photoshop(GREY, 1), GREY),
    "CMYK": Sound("psd", lambda: rare.photoshop(WHOLE.convert("CMYK"), 4)),
    "RGBA": Sound("psd", lambda: rare.photoshop(CLEAR, 3), CLEAR),
}
ICONS = {
    "PNG": Sound("ico", file(CLEAR, "ICO", sizes=[CLEAR.size]), CLEAR),
    "bitmap": Sound("ico", file(CLEAR, "ICO", sizes=[CLEAR.size], bitmap_format="bmp"), CLEAR),
    "sizes": Sound("ico", file(CLEAR, "ICO", sizes=[(48, 32), CLEAR.size, (24, 16)]), CLEAR),
}
SOUND = {
    f"{format}: {name}": sound
    for format, group in {
        **{"JPEG": JPEGS, "PNG": PNGS, "GIF": GIFS, "BMP": BMPS},
        **{"TIFF": TIFFS, "WebP": WEBPS, "AVIF": AVIFS, "HEIC": HEICS},
        **{"JPEG 2000": JPEGS_2000, "Photoshop": PHOTOSHOP, "icon": ICONS},
    }.items()
    for name, sound in group.items()
}
