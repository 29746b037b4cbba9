"""What is wrong with a catalogue, in codes and sentences."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as a code and a sentence, and where: line and cell of the row, both from 1."""

    code: str
    detail: str
    line: int | None = None
    column: int | None = None


class CatalogueError(Exception):
    """The file is refused. `problems` says why; as a string it is their sentences."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.detail for problem in problems))
        self.problems = problems


def refusal(code: str, detail: str, line: int | None = None, column: int | None = None) -> CatalogueError:
    """The error of a file that has this one problem."""
    return CatalogueError([Problem(code, detail, line, column)])


def list_names(names: list[str]) -> str:
    """The first of these names of columns, quoted, in one line."""
    listed = [f"“{shorten(name.strip(), 60)}”" for name in names[:30]]
    return ", ".join(listed) + (" …" if len(names) > 30 else "") or "nothing"


def shorten(text: str, length: int) -> str:
    """At most so many characters of a text, and a sign where there are more."""
    return text if len(text) <= length else f"{text[:length]}…"
