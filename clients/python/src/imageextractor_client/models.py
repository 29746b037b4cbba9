"""Answers of the API as immutable values. Fields that this version does not know are ignored."""

from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T", "Counts", "Picture")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of images of a request. `total` grows until the whole file is read."""

    total: int
    pending: int
    completed: int
    failed: int
    canceled: int
    unchanged: int
    ignored: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Size and format of a source or an output. `url` is set for renditions, `quality` for lossy outputs."""

    bytes: int
    width: int
    height: int
    format: str
    quality: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ImageError:
    """Why an image has failed: a code for programs, a sentence for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Image:
    """One distinct URL of a request, with its outcome."""

    id: str
    url: str
    status: str
    error: ImageError | None
    attempts: int
    output_url: str | None
    unchanged: bool
    source: Picture | None
    output: Picture | None
    renditions: dict[str, Picture]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Image":
        """Read an image of the API."""
        error = data["error"]
        return cls(
            **{name: data[name] for name in ("id", "url", "status", "attempts", "output_url", "unchanged")},
            error=ImageError(error["code"], error["detail"]) if error else None,
            source=_picture(data["source"]),
            output=_picture(data["output"]),
            renditions={name: _known(Picture, facts) for name, facts in data["renditions"].items()},
        )


@dataclass(frozen=True, slots=True)
class Product:
    """A row of the catalogue. Of its images, in their order, one may appear in other products too."""

    id: str
    row_number: int
    serial_number: str
    product_name: str
    status: str
    images: tuple[Image, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Product":
        """Read a product of the API."""
        names = ("id", "row_number", "serial_number", "product_name", "status")
        images = tuple(Image.from_json(image) for image in data["images"])
        return cls(**{name: data[name] for name in names}, images=images)


def counts(data: dict[str, Any]) -> Counts:
    """Read the counts of a request."""
    return _known(Counts, data)


def _picture(facts: dict[str, Any] | None) -> Picture | None:
    return _known(Picture, facts) if facts else None


def _known(kind: type[T], data: dict[str, Any]) -> T:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in data.items() if name in known})
