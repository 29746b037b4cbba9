"""Reading text from users takes time in proportion to its length, whatever it is."""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator

import pytest

import imageextractor
import processing
import products
from products.catalogue import columns, picture_cells, picture_urls
from products.catalogue.records import _cell_pattern
from products.catalogue.writing import escape_formula
from products.results.zip_archive import _safe_name

LENGTHS = 4_000, 40_000
#: Ten times the text takes ten times as long, a hundred times if the time grows with the square.
MAX_GROWTH = 40
#: Repeated to a text, alone, or with something in front or behind that makes the end fail to match.
PIECES = [
    *("a", "1", " ", "\t", "\n", ",", ";", "|", ".", "-", "+", '"', '""', "(", ")", "/", "?", "%", "_", "e"),
    *(
        ".jpg",
        ".jpg?",
        ".jpg ",
        ".jpg?a ",
        ".jpg,",
        "http://",
        "https://a",
        "//",
        "a://",
        ",http://",
        ", ",
        " ,",
    ),
    *(
        "1,",
        "1.",
        "1 ",
        "a.",
        "a-",
        "x1",
        "(a",
        '"a',
        ',"',
        "\\",
        "images/",
        "www.",
        "sep=",
        "\xa0",
        "\u0301",
    ),
    *("\xff", "\xff\xd8", "\0", "[", "]", "<", "&", ":", ": "),
]
TEXTS = [("", piece, "!") for piece in PIECES] + [
    (start, piece, "!") for start in (",", "https://a/", ".jpg") for piece in ("a", "1", " ", ".jpg?", ", ")
]
Scan = Callable[[str], object]


def compiled_patterns() -> Iterator[tuple[str, "re.Pattern[str] | re.Pattern[bytes]"]]:
    """Yield every compiled pattern in a module of ours, by name."""
    for package in (products, processing, imageextractor):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # A web process is checked while these two are imported.
            if ".migrations" not in info.name and not info.name.endswith((".gunicorn_conf", ".wsgi")):
                module = importlib.import_module(info.name)
                for name, value in vars(module).items():
                    if isinstance(value, re.Pattern):
                        yield f"{info.name}.{name}", value


def scans(pattern: "re.Pattern[str] | re.Pattern[bytes]") -> list[Scan]:
    """Return what may be done with a pattern, as functions of a text."""
    methods = (pattern.search, pattern.fullmatch, pattern.split)
    if isinstance(pattern.pattern, bytes):
        return [lambda text, method=method: method(text.encode("latin-1", "replace")) for method in methods]  # type: ignore[misc]
    return [*methods]  # type: ignore[list-item]


def seconds(scan: Scan, text: str, times: int) -> float:
    """Return the CPU time of the fastest of some scans."""
    taken = []
    for _ in range(times):
        start = time.thread_time()
        scan(text)
        taken.append(time.thread_time() - start)
    return min(taken)


def text_of(start: str, piece: str, end: str, length: int) -> str:
    return start + piece * (length // len(piece)) + end


def assert_linear(name: str, scan: Scan) -> None:
    """Fail if a text of ten times the length takes much more than ten times as long."""
    for form in TEXTS:
        short, long = (text_of(*form, length) for length in LENGTHS)
        # Measured again where it looks bad. A floor, since what takes next to no time grows by chance: above
        # it is whatever takes 5 ps for each pair of characters.
        for times in (1, 5):
            growth = seconds(scan, long, times) / max(seconds(scan, short, times), 0.0002)
            if growth < MAX_GROWTH:
                break
        assert growth < MAX_GROWTH, f"{name}: {form} takes {growth:.0f} times as long"


PATTERNS = dict(compiled_patterns())
FUNCTIONS: dict[str, Scan] = {
    "split_urls": picture_cells.split_urls,
    "split_urls with a base": lambda text: picture_cells.split_urls(text, "https://shop.example"),
    "separator_in": picture_cells.separator_in,
    "host_of": picture_urls.host_of,
    "host_of a host": lambda text: picture_urls.host_of(f"http://{text}"),
    "url_warning": picture_urls.url_warning,
    "url_problem": picture_urls.url_problem,
    "cell_warnings": lambda text: list(picture_cells.cell_warnings(text)),
    "replace_urls": lambda text: picture_cells.replace_urls(text, iter([""] * 50_000)),
    "escape_formula": escape_formula,
    "normalise": columns.normalise,
    "normalise combining marks": lambda text: columns.normalise(text + "\u0315\u0300" * (len(text) // 2)),
    "name in an archive": lambda text: _safe_name(text + "\u0315\u0300" * (len(text) // 2)),
    "cells as written": _cell_pattern(",").match,
}


def test_patterns_are_found() -> None:
    assert {
        "products.catalogue.picture_cells._SEPARATORS",
        "processing.webhooks.inbound._SEPARATORS",
    } <= PATTERNS.keys()


@pytest.mark.sample("name", keep=5)
@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_every_regular_expression_is_linear(name: str) -> None:
    for scan in scans(PATTERNS[name]):
        assert_linear(name, scan)


@pytest.mark.sample("name", keep=5)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_over_text_from_users_is_linear(name: str) -> None:
    assert_linear(name, FUNCTIONS[name])
