"""Problems of a catalogue: a code, a sentence for the user, and where in the file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, and where it is: the line of the file and the cell of the row, both from 1, or None."""

    code: str
    detail: str
    line: int | None = None
    column: int | None = None


class CatalogueError(Exception):
    """The file is refused. `problems` holds the reasons; `str()` joins their sentences."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.detail for problem in problems))
        self.problems = problems


def refusal(code: str, detail: str, line: int | None = None, column: int | None = None) -> CatalogueError:
    """Return the error for a file refused because of a single problem."""
    return CatalogueError([Problem(code, detail, line, column)])


def size_text(count: int) -> str:
    """Return a limit of bytes in the largest decimal unit, as administrators set it: 200 MB, not 190.7."""
    for unit, factor in (("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} bytes"


def list_names(names: list[str]) -> str:
    """Return the first 30 column names, quoted and shortened, as one line of text."""
    listed = [f"“{shorten(name.strip(), 60)}”" for name in names[:30]]
    return ", ".join(listed) + (" …" if len(names) > 30 else "") or "nothing"


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters of a text, followed by an ellipsis if it was cut."""
    return text if len(text) <= length else f"{text[:length]}…"
