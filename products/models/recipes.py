"""The options of a Request that say what is made of each picture: what they accept, and how they go together.

Form, API and command line refuse the same values with the same sentences, which are here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import models

from products.models.quality import parse_quality
from products.models.states import Format

MAX_SIDE = 65_535
MAX_RENDITIONS = 8
#: The four sizes, of which a rendition that names one inherits none, nor `fit`.
SIZES = ("max_width", "max_height", "width", "height")
#: Options of an output, which a rendition may name. What it does not name is as in the main output.
OUTPUT_OPTIONS = ("quality", "format", *SIZES, "fit", "background", "effort")
#: Options of the picture as a whole.
PICTURE_OPTIONS = ("trim", "min_width", "min_height", "names", "renditions")
RECIPE_OPTIONS = (*OUTPUT_OPTIONS, *PICTURE_OPTIONS)

_NAME = re.compile(r"[a-z0-9_-]{1,20}")
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


class Fit(models.TextChoices):
    """Ways to fit a picture into its box of `width` and `height`."""

    INSIDE = "inside", "Fit inside"
    PAD = "pad", "Fit inside and pad"
    COVER = "cover", "Cover and crop"


class Effort(models.TextChoices):
    """The trade-off between CPU time and the size of outputs."""

    FAST = "fast", "Fast"
    BALANCED = "balanced", "Balanced"
    SMALLEST = "smallest", "Smallest files"


class Names(models.TextChoices):
    """Sources of the file names of outputs."""

    HASH = "hash", "Content hash"
    SOURCE = "source", "Source file name"


def format_name(name: str) -> str:
    """Return the name of a picture format as people write it."""
    return {"webp": "WebP", "jpeg2000": "JPEG 2000"}.get(name, name.upper())


#: The sentence for what is neither yes nor no.
MUST_BE_YES_OR_NO = "Use true or false."


def must_be_number(low: int, high: int) -> str:
    """Return the sentence for what is no whole number, or not between these."""
    return f"Use a whole number from {low:,} to {high:,}."


def must_be_one_of(choices: Sequence[str]) -> str:
    """Return the sentence for a value that is none of these."""
    return f"Use one of {', '.join(choices)}."


def number_errors(low: int, high: int) -> dict[str, Any]:
    """Return the messages of a field of a form or serializer that accepts whole numbers between these."""
    sentence = must_be_number(low, high)
    return dict.fromkeys(("invalid", "min_value", "max_value", "max_string_length"), sentence)


def choice_errors(choices: type[models.TextChoices]) -> dict[str, Any]:
    """Return the messages of a field of a form or serializer that accepts these choices."""
    return {"invalid_choice": must_be_one_of(choices.values)}


def parse_background(text: str) -> str:
    """Return a colour in lower case. Raises ValueError."""
    if not _COLOUR.fullmatch(text):
        raise ValueError("Use a colour as #rrggbb, such as #ffffff for white.")
    return text.lower()


class RenditionProblem(NamedTuple):
    """An option of a rendition that is refused. `number` counts renditions from 1, `name` may be empty."""

    number: int
    name: str
    option: str
    sentence: str

    def __str__(self) -> str:
        which = f'"{self.name}"' if self.name and self.option != "name" else self.number
        return f"Rendition {which}, {_shown(self.option)}: {self.sentence}"


class RenditionsError(ValueError):
    """Renditions that are refused. `problems` is empty where it is not the options of single ones."""

    def __init__(self, text: str, problems: Sequence[RenditionProblem] = ()) -> None:
        super().__init__(text)
        self.problems = problems


def parse_renditions(value: Any) -> list[dict[str, Any]]:
    """Return the renditions in a list, or in JSON text that has one.

    Raises RenditionsError with a sentence, which is that of the first problem.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except (ValueError, RecursionError) as error:
            raise RenditionsError("This is not valid JSON.") from error
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise RenditionsError('Use a JSON list of objects, such as [{"name": "thumb", "width": 200}].')
    if len(value) > MAX_RENDITIONS:
        raise RenditionsError(f"There are {len(value)} renditions. At most {MAX_RENDITIONS} are possible.")
    renditions: list[dict[str, Any]] = []
    problems: list[RenditionProblem] = []
    for number, one in enumerate(value, start=1):
        rendition, found = _parse_rendition(number, one)
        renditions.append(rendition)
        problems += found
    names = [one["name"] for one in renditions]
    for number, name in enumerate(names, start=1):
        if name and name in names[: number - 1]:
            problems.append(RenditionProblem(number, name, "name", "Another rendition has this name."))
    if problems:
        raise RenditionsError(str(problems[0]), problems)
    return renditions


def _parse_rendition(number: int, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[RenditionProblem]]:
    """Return a rendition without the options that are refused, and those."""
    problems = []
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        name = ""
        problems.append(
            RenditionProblem(number, name, "name", "Use 1 to 20 characters of a-z, 0-9, _ and -.")
        )
    parsed: dict[str, Any] = {"name": name}
    for key, value in given.items():
        if key == "name" or (value is None and key != "background"):
            continue
        try:
            parsed[key] = _parse_output_option(key, value)
        except ValueError as error:
            problems.append(RenditionProblem(number, name, key, str(error)))
            if key not in OUTPUT_OPTIONS:  # there may be thousands more
                break
    return parsed, problems


def _parse_output_option(key: str, value: Any) -> Any:
    if key in SIZES:
        return _parse_number(value, 1, MAX_SIDE)
    if key == "quality":
        return parse_quality(value)
    if key == "background":  # null is a value: transparent, though the main output has a background
        return None if value is None else parse_background(value if isinstance(value, str) else "")
    choices = {"fit": Fit.values, "format": Format.values, "effort": Effort.values}.get(key)
    if choices is None:
        raise ValueError(f"There is no such option. {must_be_one_of(('name', *OUTPUT_OPTIONS))}")
    if value not in choices:
        raise ValueError(must_be_one_of(choices))
    return value


def _parse_number(value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(must_be_number(low, high))
    return value


def _shown(key: str) -> str:
    """Return the beginning of a key, without what no answer can be encoded with."""
    text = key.encode(errors="replace").decode()
    return text if len(text) <= 30 else f"{text[:30]}…"


def outputs_of(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of every output by its name: the main one, whose name is "", and the renditions.

    `options` has the OUTPUT_OPTIONS and `renditions`, as a Request has them.
    """
    main = {name: options.get(name) for name in OUTPUT_OPTIONS}
    outputs = {"": main}
    for rendition in options.get("renditions") or []:
        said = {name: value for name, value in rendition.items() if name != "name"}
        inherited = main
        if any(name in said for name in SIZES):
            inherited = main | dict.fromkeys(SIZES) | {"fit": Fit.INSIDE.value}
        outputs[rendition["name"]] = inherited | said
    return outputs


def recipe_problems(options: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence by option for options that are right alone but not together."""
    if of_main := _output_problems(outputs_of(options)[""]):  # which renditions inherit
        return of_main
    problems = rendition_problems(options)
    return {"renditions": str(problems[0])} if problems else {}


def rendition_problems(options: Mapping[str, Any]) -> list[RenditionProblem]:
    """Return the options of renditions that are right alone but not together."""
    renditions = [(name, output) for name, output in outputs_of(options).items() if name]
    return [
        RenditionProblem(number, name, option, sentence)
        for number, (name, output) in enumerate(renditions, start=1)
        for option, sentence in _output_problems(output).items()
    ]


def _output_problems(output: Mapping[str, Any]) -> dict[str, str]:
    boxes = [name for name in ("width", "height") if output[name]]
    if boxes and (output["max_width"] or output["max_height"]):
        sentence = "Use either width and height, or max_width and max_height."
        return {boxes[0]: sentence}
    if output["fit"] in (Fit.PAD, Fit.COVER) and len(boxes) < 2:
        return {"fit": f"{output['fit']} needs both width and height."}
    return {}
