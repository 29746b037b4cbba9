"""The options of a Request that say what is made of each picture: what they accept, and how they go together.

Form, API and command line refuse the same values with the same sentences, which are here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models

MAX_SIDE = 65_535
MIN_QUALITY, MAX_QUALITY = 1, 95
SIZES = ("width", "height", "max_width", "max_height")
#: Options of an output.
OUTPUT_OPTIONS = (*SIZES, "fit", "background", "format", "quality")
#: Options of the picture as a whole.
PICTURE_OPTIONS = ("trim", "min_width", "min_height")
RECIPE_OPTIONS = (*OUTPUT_OPTIONS, *PICTURE_OPTIONS)

_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


class Fit(models.TextChoices):
    """How a picture comes into its box."""

    INSIDE = "inside", "Fit inside"
    PAD = "pad", "Fit inside and pad"
    COVER = "cover", "Cover and crop"


def must_be_number(low: int, high: int) -> str:
    """Return the sentence for what is no whole number, or not between these."""
    return f"Use a whole number from {low:,} to {high:,}."


def must_be_one_of(choices: Sequence[str]) -> str:
    """Return the sentence for a value that is none of these."""
    return f"Use one of {', '.join(choices)}."


def number_errors(low: int, high: int) -> dict[str, str]:
    """Return the messages of a field of a form or serializer that accepts whole numbers between these."""
    sentence = must_be_number(low, high)
    return dict.fromkeys(("invalid", "min_value", "max_value", "max_string_length"), sentence)


def choice_errors(choices: type[models.TextChoices]) -> dict[str, str]:
    """Return the messages of a field of a form or serializer that accepts these choices."""
    return {"invalid_choice": must_be_one_of(choices.values)}


def parse_background(text: str) -> str:
    """Return a colour in lower case. Raises ValueError."""
    if not _COLOUR.fullmatch(text):
        raise ValueError("Use a colour as #rrggbb, such as #ffffff for white.")
    return text.lower()


def recipe_problems(options: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence by option for options that are right alone but not together."""
    output = {name: options.get(name) for name in OUTPUT_OPTIONS}
    boxes = [name for name in ("width", "height") if output[name]]
    if boxes and (output["max_width"] or output["max_height"]):
        sentence = "Use either width and height, or max_width and max_height."
        return {boxes[0]: sentence}
    if output["fit"] in (Fit.PAD, Fit.COVER) and len(boxes) < 2:
        return {"fit": f"{output['fit']} needs both width and height."}
    return {}
