"""Errors that the API answers with."""

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem that a response names; `line` and `column` are of the uploaded file."""

    code: str
    detail: str
    attr: str | None = None
    line: int | None = None
    column: str | None = None


class ApiError(Exception):
    """A response that is no success. `status` is that of HTTP, `problems` has at least one."""

    def __init__(self, status: int, problems: list[Problem]) -> None:
        super().__init__(f"{status}: " + " ".join(problem.detail for problem in problems))
        self.status = status
        self.problems = problems

    @classmethod
    def from_response(cls, response: httpx.Response) -> "ApiError":
        """Read the problems of a response, whatever a proxy may have made of it."""
        try:
            errors: list[dict[str, Any]] = response.json()["errors"]
            optional = ("attr", "line", "column")
            problems = [
                Problem(error["code"], error["detail"], **{name: error.get(name) for name in optional})
                for error in errors
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            problems = []
        fallback = Problem("error", response.reason_phrase or "The service answered with an error.")
        return cls(response.status_code, problems or [fallback])
