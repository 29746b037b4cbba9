"""Tell whether a GIF or a WebP has more than one frame, without decoding any."""


def is_animated(data: bytes) -> bool:
    """Return whether a browser shows more than one frame. What is damaged is not animated."""
    try:
        if data.startswith(b"GIF8"):
            return _count_gif_frames(data) > 1
        if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X":
            return bool(data[20] & 2) and _has_webp_frames(data)
    except IndexError:
        pass
    return False


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _count_gif_frames(data: bytes) -> int:
    """Count up to two frames (GIF89a specification, section 20). Raise IndexError if it is cut off."""
    at, frames = 13 + _color_table_bytes(data[10]), 0
    while frames < 2 and data[at] in b",!":
        if data[at] == 0x2C:
            frames += 1
            at += 11 + _color_table_bytes(data[at + 9])
        else:
            at += 2
        while size := data[at]:
            at += 1 + size
        at += 1
    return frames


def _has_webp_frames(data: bytes) -> bool:
    """Return whether there are two frames (RFC 9649, section 2.7.1.2)."""
    at, frames = 12, 0
    while at + 8 <= len(data) and frames < 2:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        frames += data[at : at + 4] == b"ANMF"
        at += 8 + size + size % 2
    return frames > 1
