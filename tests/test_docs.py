"""Names in the documents that must exist: variables, linked files, commands, dependencies."""

import ast
import re
import tomllib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from processing.webhooks.models import Event
from scripts.docs_site import LINK, OUTSIDE, site_link

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "clients").rglob("*.md")),
]
READERS = {"text", "integer", "fraction", "boolean", "choice", "items", "networks", "url", "email"}
#: Variables that only tests set: docs/reliability.md has them, the table does not.
FOR_TESTS = {"TEST_TIME_SCALE"}
SECRETS = {
    *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS"),
    *("INBOUND_WEBHOOK_SECRET", "EMAIL_URL", "ADMIN_PASSWORD", "SENTRY_DSN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}


@dataclass(frozen=True, slots=True)
class Documented:
    """A row of the table: the names in its first cell, and the cell with the default."""

    names: list[str]
    default: str


def read_variables() -> dict[str, int | None]:
    """Every variable that the settings read, with its default where that is a number."""
    found: dict[str, int | None] = {}
    for name in ("settings.py", "storage_settings.py"):
        for node in ast.walk(ast.parse((ROOT / "imageextractor" / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"env.{name}" for name in READERS}:
                variable, *others = [
                    arg.value if isinstance(arg, ast.Constant) else None for arg in node.args
                ]
                assert isinstance(variable, str)
                number = others[0] if others and ast.unparse(node.func) == "env.integer" else None
                found[variable] = number if isinstance(number, int) else None
    return found


def documented() -> dict[str, Documented]:
    """The table of docs/configuration.md by variable. A variable that stands there twice is an error."""
    rows: dict[str, Documented] = {}
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            first, _accepts, default, _does = [cell.strip() for cell in line.strip("|").split("|")]
            names = re.findall(r"`(\w+)`", first)
            assert names[0] not in rows, f"{names[0]} stands in the table twice"
            rows[names[0]] = Documented(names, default)
    return rows


def commands_text(document: Path = ROOT / "README.md") -> str:
    """Return what a document shows as code: blocks and spans."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return "\n".join([*blocks, *spans])


def test_the_table_has_every_variable_that_is_read_and_no_other() -> None:
    assert set(documented()) == set(read_variables()) - FOR_TESTS


def test_variables_for_tests_are_read() -> None:
    assert set(read_variables()) >= FOR_TESTS


def test_the_table_has_the_numbers_that_are_the_defaults() -> None:
    numbers = {name: number for name, number in read_variables().items() if number is not None}
    assert numbers
    rows = documented()
    assert {name: int(rows[name].default.replace(",", "")) for name in numbers} == numbers


def test_the_table_names_the_file_form_of_every_secret_and_of_nothing_else() -> None:
    with_file = {name for name, row in documented().items() if row.names[1:] == [f"{name}_FILE"]}
    assert with_file == SECRETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (document.parent / link).is_file()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_of_the_code_exist(document: Path) -> None:
    rooms = "imageextractor|processing|products|scripts|templates|tests"
    named = re.findall(rf"`((?:{rooms})/[\w./-]+)`", document.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_management_commands_in_the_readme_can_be_loaded() -> None:
    names = set(re.findall(r"manage\.py (\w+)", commands_text()))
    assert {"extract", "migrate", "rundramatiq", "create_token"} <= names
    known = get_commands()
    assert names <= set(known)
    for name in names:
        app = known[name]
        assert isinstance(app, str)
        assert load_command_class(app, name).help


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):(?!=)", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", "\n".join(map(commands_text, DOCUMENTS))))
    assert {"demo", "run", "test", "check"} <= named
    assert named <= targets


def test_the_page_of_dependencies_gives_a_reason_for_each_and_lists_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    declared = [*project["project"]["dependencies"], *chain(*extras), *project["dependency-groups"]["dev"]]
    names = [re.match(r"[\w-]+", requirement) for requirement in declared]
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` (?:\(extra `\w+`\) )?\| \S", text, re.MULTILINE)
    assert sorted(listed) == sorted(name[0] for name in names if name)


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    links = set(re.findall(r"\]\(([^)\s]+)\)", (docs / "index.md").read_text(encoding="utf-8")))
    assert {path.name for path in docs.glob("*.md")} - {"index.md"} <= links


def test_the_navigation_of_the_site_names_every_page() -> None:
    """`make docs` checks the rest, links and anchors among it; it takes too long for here."""

    class Loader(yaml.SafeLoader):
        """Leaves out the functions that the file names."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)  # noqa: S506 (a safe one)

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [
            page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)
        ]

    named = pages(config["nav"])
    assert len(named) == len(set(named))
    docs = ROOT / "docs"
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    outside = {name for name in OUTSIDE.values() if name.endswith(".md")}
    assert set(named) == {page for page in written | outside if not re.match(r"decisions/\d", page)}
    assert all((ROOT / path).is_file() for path in OUTSIDE)


def test_links_of_the_site_lead_to_pages_and_what_names_code_is_text() -> None:
    def link(text: str, page: str) -> str:
        return LINK.sub(lambda match: site_link(match, page), text)

    assert link("[a](docs/api.md#x)", "readme.md") == "[a](api.md#x)"
    assert link("![a](docs/images/a.png)", "readme.md") == "![a](images/a.png)"
    assert link("[a](../README.md)", "api.md") == "[a](readme.md)"
    assert link("[a](../../clients/python/README.md)", "recipes/r.md") == "[a](../client-python.md)"
    assert link("[`a`](../compose.yaml), [b](https://b.example), [c](#c)", "operations.md") == (
        "`a`, [b](https://b.example), [c](#c)"
    )


def test_the_list_of_decisions_names_every_page_with_its_title_and_date() -> None:
    folder = ROOT / "docs" / "decisions"
    text = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| ([\d-]+) \| \[(.+)\]\((.+)\) \|$", text, re.MULTILINE)
    pages = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [path.name for path in pages] == [name for *_, name in listed]
    for path, (number, date, title, _name) in zip(pages, listed, strict=True):
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. {title}\n\n{date}\n")


def test_the_table_of_webhook_events_has_each_of_them_and_no_other() -> None:
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    table = text.partition("| event | sent when |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE) == Event.values
