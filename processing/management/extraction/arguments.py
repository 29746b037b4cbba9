"""Arguments of `extract` that are options of an upload. The API's fields say what is accepted."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.fields import BooleanField, Field, empty

from products.api.options import OptionsSerializer
from products.models import Effort, Fit, Format, Names
from products.models.recipes import RECIPE_OPTIONS

#: What stands for the value in the help; otherwise PIXELS.
METAVARS = {
    "quality": "1-95|auto",
    "format": "|".join(Format.values),
    "fit": "|".join(Fit.values),
    "background": "#rrggbb",
    "effort": "|".join(Effort.values),
    "names": "|".join(Names.values),
    "renditions": "JSON",
}


def add_recipe_arguments(parser: ArgumentParser) -> None:
    """Add an argument for each option that says what is made of pictures."""
    fields = OptionsSerializer().fields
    for name in RECIPE_OPTIONS:
        flag, field = f"--{name.replace('_', '-')}", fields[name]
        text = str(field.help_text or "").replace("`", "").replace("%", "%%")
        if isinstance(field, BooleanField):
            parser.add_argument(flag, action="store_true", default=None, help=text)
        else:
            default = None if field.default is empty else field.default
            parser.add_argument(
                flag,
                type=checked_by(field),
                metavar=METAVARS.get(name, "PIXELS"),
                help=text or f"default: {default}",
            )


def checked_by(field: Field[Any, Any, Any, Any]) -> Callable[[str], Any]:
    """Return a parser of arguments that accepts what a field of the API accepts."""

    def convert(text: str) -> Any:
        try:
            return field.run_validation(text)
        except ValidationError as error:
            detail = error.detail if isinstance(error.detail, list) else [json.dumps(error.detail)]
            raise ArgumentTypeError(" ".join(map(str, detail))) from error

    return convert
