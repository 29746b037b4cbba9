"""Parsing of JSON bodies that anybody may send."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError


def check_json(value: Any) -> None:
    """Raise ValueError for JSON that no answer could repeat: nested too deeply, or with lone surrogates."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error


class JSONParser(parsers.JSONParser):
    """Parses JSON. Raises ParseError for all that cannot be answered, whatever the reason."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the value of a body. Its charset has to be one of text."""
        try:
            data = super().parse(stream, media_type, parser_context)
            check_json(data)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error
        except (LookupError, ValueError) as error:
            raise ParseError(f"The JSON cannot be read: {type(error).__name__}.") from error
        return data
