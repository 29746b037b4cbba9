"""Input, output and error of ``compress()``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

#: Where a picture has transparency and its output can have none, if no other background is wanted.
WHITE = "#ffffff"
#: The quality that is chosen for each picture.
AUTO: Literal["auto"] = "auto"
#: How much CPU smaller files are worth.
FAST, BALANCED, SMALLEST = "fast", "balanced", "smallest"


class CompressError(Exception):
    """A picture that cannot be compressed; trying again does not help.

    ``code`` is ``not_an_image``, ``unsupported_format``, ``too_many_pixels``, ``too_small``,
    ``corrupt_image`` or, from ``compress_isolated()`` only, ``crashed``. ``detail`` is a sentence for users.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)  # pickle calls the class with these arguments
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def unsupported(what: str) -> CompressError:
    """Return the error for a kind of pictures that no decoder here reads; ``what`` begins the sentence."""
    return CompressError("unsupported_format", f"{what} are not supported.")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options of one output.

    ``quality`` is 1 to 95, or ``auto`` for the lowest at which an output still looks like its picture.
    ``format`` is ``jpeg``, ``webp``, ``avif`` or ``original``. Sizes are in pixels: ``width`` and ``height``
    are the box wanted, ``max_width`` and ``max_height`` the same for ``fit="inside"``. ``fit`` is ``inside``,
    ``pad`` or ``cover``; the latter two need both sides of the box. ``background`` is ``#rrggbb``; None means
    transparent where the format can be, else white. ``effort`` is ``fast``, ``balanced`` or ``smallest``: how
    much CPU smaller files are worth.
    """

    quality: int | Literal["auto"] = 50
    format: str = "jpeg"
    max_width: int | None = None
    max_height: int | None = None
    width: int | None = None
    height: int | None = None
    fit: str = "inside"
    background: str | None = None
    effort: str = BALANCED

    @property
    def box(self) -> tuple[int | None, int | None]:
        """Width and height that the output has to fit; None where it is not limited."""
        return self.width or self.max_width, self.height or self.max_height


@dataclass(frozen=True, slots=True)
class Recipe(OutputOptions):
    """Options of all outputs: the inherited fields are of the main one, ``renditions`` of the others.

    ``trim`` cuts off uniform borders. A picture smaller than ``min_width`` or ``min_height`` is refused.
    """

    trim: bool = False
    min_width: int | None = None
    min_height: int | None = None
    renditions: tuple[OutputOptions, ...] = ()

    @property
    def outputs(self) -> tuple[OutputOptions, ...]:
        """The options of all outputs: the main one first, then the renditions."""
        return (self, *self.renditions)

    def only(self, indexes: Sequence[int]) -> "Recipe":
        """Return the recipe for some of the outputs, of which the first becomes the main one."""
        chosen = [self.outputs[index] for index in indexes]
        main = {field.name: getattr(chosen[0], field.name) for field in fields(OutputOptions)}
        return replace(self, **main, renditions=tuple(chosen[1:]))

    @property
    def canonical(self) -> tuple[str, ...]:
        """A text for each output, the same for two recipes if they make the same of any picture.

        The minimum is not in it, since it changes no output.
        """
        return tuple(f"{_canonical(output)}{' trim' if self.trim else ''}" for output in self.outputs)


def _canonical(output: OutputOptions) -> str:
    background = output.background
    if output.fit != "pad" and output.format in ("webp", "avif"):
        background = None  # nothing is around the picture, and it keeps its transparency
    elif output.fit != "pad" or output.format == "jpeg":
        background = background or WHITE
    width, height = output.box
    effort = "" if output.effort == BALANCED else f" {output.effort}"
    return f"{output.format} {output.quality} {width}x{height} {output.fit} {background}{effort}"


class ImageInfo(NamedTuple):
    """Size of a file in bytes, width and height in pixels as displayed, and format in lower case.

    ``quality`` is the one that an output was encoded with; None for a source, and for an output that is
    lossless or has the source's own data.
    """

    bytes: int
    width: int
    height: int
    format: str
    quality: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded output; ``extension`` is its usual file name extension, without the dot.

    ``kept`` is true if it contains the source's own image data, because encoding it again would not have
    saved a byte.
    """

    data: bytes
    extension: str
    output: ImageInfo
    kept: bool


@dataclass(frozen=True, slots=True)
class Compressed(Encoded):
    """A compressed picture: the main output, and the renditions in the order of the recipe.

    ``animated`` is true if the source has more frames than the one that was compressed.
    """

    source: ImageInfo
    animated: bool = False
    renditions: tuple[Encoded, ...] = ()

    @classmethod
    def of(cls, outputs: Sequence[Encoded], source: ImageInfo, *, animated: bool) -> "Compressed":
        """Return the result with these outputs, the main one first."""
        main, *renditions = outputs
        return cls(
            data=main.data,
            extension=main.extension,
            output=main.output,
            kept=main.kept,
            source=source,
            animated=animated,
            renditions=tuple(renditions),
        )

    @property
    def outputs(self) -> tuple[Encoded, ...]:
        """All outputs in the order of ``Recipe.outputs``."""
        return (self, *self.renditions)
