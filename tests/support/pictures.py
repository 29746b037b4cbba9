"""Pictures for tests, made in memory. The same arguments give the same bytes, another seed gives others."""

import random
import struct
import zlib
from io import BytesIO

from PIL import ExifTags, Image, ImageChops, ImageCms, ImageStat

RED, GREEN, BLUE, YELLOW = (230, 30, 30), (30, 180, 60), (30, 60, 220), (240, 220, 40)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The picture as a file; ``options`` are those of Pillow's ``save``."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture in a file, as Pillow sees it, with its pixels read."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures in the channel that differs most, 0 to 255."""
    assert one.size == other.size
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return max(means)


def photo(width: int = 320, height: int = 240, *, seed: int = 0) -> Image.Image:
    """Soft shapes with some grain, which compresses about as a photograph does."""
    source = random.Random(seed)  # noqa: S311
    cells = (width // 24 + 2, height // 24 + 2)
    shapes = Image.frombytes("RGB", cells, source.randbytes(cells[0] * cells[1] * 3))
    grain = Image.frombytes("L", (width, height), source.randbytes(width * height)).convert("RGB")
    return Image.blend(shapes.resize((width, height), Image.Resampling.BICUBIC), grain, 0.06)


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red and green above blue and yellow, which tells whether a picture was turned or mirrored."""
    image = Image.new("RGB", (width, height), YELLOW)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def photo_jpeg(width: int = 320, height: int = 240, *, seed: int = 0, **options: object) -> bytes:
    """A photograph as shops have it: JPEG, quality 85, no metadata."""
    return encoded(photo(width, height, seed=seed), "JPEG", **{"quality": 85, **options})


def cut_out(width: int = 320, height: int = 240, *, seed: int = 0) -> Image.Image:
    """A photograph whose left half is transparent."""
    image = photo(width, height, seed=seed).convert("RGBA")
    image.putalpha(left_half_clear(width, height))
    return image


def left_half_clear(width: int, height: int) -> Image.Image:
    """An alpha channel: the left half transparent, the right half opaque."""
    alpha = Image.new("L", (width, height), 255)
    alpha.paste(0, (0, 0, width // 2, height))
    return alpha


def rgba_png(width: int = 320, height: int = 240, *, seed: int = 0) -> bytes:
    """A cut-out photograph as PNG with an alpha channel."""
    return encoded(cut_out(width, height, seed=seed), "PNG")


def palette_png(width: int = 320, height: int = 240, *, seed: int = 0) -> bytes:
    """A PNG with a palette, in which one colour, that of the left half, is transparent."""
    image = photo(width, height, seed=seed).quantize(63)
    image.putpalette([*(image.getpalette() or [])[: 63 * 3], 255, 0, 255])
    image.paste(63, (0, 0, width // 2, height))
    return encoded(image, "PNG", transparency=63)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def cmyk_jpeg(width: int = 320, height: int = 240, *, seed: int = 0, **options: object) -> bytes:
    """A JPEG in the colours of print, as agencies deliver them."""
    return encoded(photo(width, height, seed=seed).convert("CMYK"), "JPEG", **{"quality": 85, **options})


def rotated_jpeg(orientation: int, image: Image.Image | None = None) -> bytes:
    """A JPEG that stores ``image`` and says in its EXIF how to turn or mirror it (1 to 8)."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image or quarters(), "JPEG", quality=95, exif=exif)


def truncated(data: bytes, keep: float = 0.6) -> bytes:
    """The beginning of a file, as a broken transfer leaves it."""
    return data[: int(len(data) * keep)]


def srgb_profile() -> bytes:
    """An ICC profile for sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """An ICC profile in which red means green and green means red: ignoring it cannot be overlooked."""
    swap = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}
    profile = bytearray(srgb_profile())
    (tags,) = struct.unpack_from(">I", profile, 128)
    for entry in range(132, 132 + 12 * tags, 12):
        name = bytes(profile[entry : entry + 4])
        profile[entry : entry + 4] = swap.get(name, name)
    return bytes(profile)


def display_p3_profile() -> bytes:
    """An ICC profile for Display P3, in which Apple's phones photograph: wider than sRGB, with its curve."""
    curve = struct.pack(
        ">4sIHH5i", b"para", 0, 3, 0, *_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )
    red, green, blue = (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)
    return _rgb_profile(red, green, blue, curve)


def adobe_rgb_profile() -> bytes:
    """An ICC profile for Adobe RGB (1998), in which designers work."""
    curve = struct.pack(">4sIIH", b"curv", 0, 1, 0x0233)
    red, green, blue = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
    return _rgb_profile(red, green, blue, curve)


def _rgb_profile(
    red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], curve: bytes
) -> bytes:
    """A profile of primaries (XYZ, adapted to D50) and one curve for all three."""
    tags = {
        name: struct.pack(">4sI3i", b"XYZ ", 0, *_fixed(*colour))
        for name, colour in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue))
    }
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def _fixed(*values: float) -> list[int]:
    """ICC's s15Fixed16Number."""
    return [round(value * 65536) for value in values]


def linear_grey_profile() -> bytes:
    """An ICC profile for grey without gamma: half of the light is 128, where sRGB says 188."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": struct.pack(">4sII", b"curv", 0, 0)})


def red_ink_profile() -> bytes:
    """An ICC profile for CMYK in which the cyan ink is red; the others, but for black, print nothing."""
    white, red, black = bytes([255, 128, 128]), bytes([138, 209, 198]), bytes([0, 128, 128])
    corners = [black if i & 0b0001 else red if i & 0b1000 else white for i in range(16)]
    straight = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * one for one in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = (
        struct.pack(">4sI4B", b"mft1", 0, 4, 3, 2, 0)
        + matrix
        + straight * 4
        + b"".join(corners)
        + straight * 3
    )
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 profile with these tags and a D50 white point."""
    white = _fixed(0.9642, 1.0, 0.8249)
    tags = {b"wtpt": struct.pack(">4sI3i", b"XYZ ", 0, *white), **tags}
    directory, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        directory += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    size = 128 + len(directory) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, kind, space, connection, b"acsp")
    header += bytes(28) + struct.pack(">3i", *white)
    return header.ljust(128, b"\0") + directory + body
