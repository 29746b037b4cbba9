"""Pixels painted by a browser: pictures drawn on a white canvas and read back."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Draw each file (base64) as <img> does. Answer width, height and pixels, or null for one that is not shown.
_SCRIPT = """
async files => Promise.all(files.map(async file => {
    const bytes = Uint8Array.from(atob(file), character => character.charCodeAt(0));
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([bytes], {type: "image/*"}));
    try {
        await image.decode();
    } catch {
        return null;
    } finally {
        URL.revokeObjectURL(image.src);
    }
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, width, height).data;
    let text = "";
    for (let start = 0; start < pixels.length; start += 32768)
        text += String.fromCharCode(...pixels.subarray(start, start + 32768));
    return [width, height, btoa(text)];
}))
"""


def painted(page: "Page", files: Iterable[bytes]) -> list[Image.Image | None]:
    """Return each file as the browser shows it on white, or None for those that it does not show."""
    answers = page.evaluate(_SCRIPT, [b64encode(file).decode() for file in files])
    return [_picture(*answer) if answer else None for answer in answers]


def _picture(width: int, height: int, pixels: str) -> Image.Image:
    return Image.frombytes("RGBA", (width, height), b64decode(pixels)).convert("RGB")
