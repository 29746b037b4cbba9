"""The files for contributors: forms, workflow and hooks can be read, and agree with the project."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
#: A name of code: `SubmissionSerializer`, `known_picture_ids`, `EVENT_CHOICES`, also after dots.
NAME = re.compile(r"`[\w.]*?((?:[A-Z][a-z]+|_?[a-z]+_|[A-Z]{2})\w+)`")
#: A path in code: with a slash, or a file of the root by what its name ends in.
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:md|toml|yaml|lock))`")


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def workflow() -> dict[str, Any]:
    """Return the jobs of the workflow."""
    jobs: dict[str, Any] = load_yaml(GITHUB / "workflows" / "ci.yml")["jobs"]
    return jobs


def commands() -> list[str]:
    """Return the commands that the workflow runs."""
    return [step["run"] for job in workflow().values() for step in job["steps"] if "run" in step]


def python_versions() -> list[str]:
    """Return the Python versions that the workflow tests, such as 3.11."""
    versions: list[str] = workflow()["quick"]["strategy"]["matrix"]["python"]
    return versions


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", ".github/pull_request_template.md"])
def test_files_that_are_named_exist(document: str) -> None:
    named = PATH.findall((ROOT / document).read_text(encoding="utf-8"))
    generated = {"var/", "var/screenshots", "site/"}
    assert [path for path in named if path not in generated and not (ROOT / path).exists()] == []


def test_names_of_code_exist() -> None:
    placeholders = {"ARGS", "NAME_FILE", "PYTHON"}
    named = set(NAME.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))) - placeholders
    rooms = ("imageextractor", "processing", "products", "tests")
    code = "\n".join(
        path.read_text(encoding="utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")
    )
    assert {"EXPLANATIONS", "SubmissionSerializer", "get_options"} <= named
    assert named <= set(re.findall(r"\w+", code))


def test_make_targets_of_the_workflow_exist() -> None:
    targets = re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z]+)", "\n".join(commands()))
    assert {"audit", "check", "docs", "quick", "test"} == set(named)
    assert set(named) <= set(targets)


def test_the_workflow_may_only_read_and_names_a_version_of_each_action() -> None:
    assert load_yaml(GITHUB / "workflows" / "ci.yml")["permissions"] == {"contents": "read"}
    actions = [step["uses"] for job in workflow().values() for step in job["steps"] if "uses" in step]
    assert [action for action in actions if not re.fullmatch(r"[\w./-]+@v\d+", action)] == []


def test_every_python_version_from_the_oldest_supported_one_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = project["project"]["requires-python"].removeprefix(">=")
    versions = python_versions()
    assert versions[0] == oldest
    assert versions == [f"3.{minor}" for minor in range(int(oldest[2:]), int(versions[-1][2:]) + 1)]
    assert project["tool"]["mypy"]["python_version"] == oldest
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"--python-version {oldest} " in (ROOT / "scripts" / "lock").read_text(encoding="utf-8")


def test_scripts_and_images_know_the_versions_that_are_tested() -> None:
    bootstrap = (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8")
    assert [version for version in python_versions() if f" python{version} " not in bootstrap] == []
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    images = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    images += [container["image"], workflow()["test"]["container"]["image"]]
    versions = {image.removeprefix("python:").removesuffix("-slim") for image in images}
    assert len(versions) == 1
    assert versions <= set(python_versions())


def test_hooks_run_from_the_environment_of_the_project() -> None:
    config = load_yaml(ROOT / ".pre-commit-config.yaml")
    assert [each["repo"] for each in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert all(".venv/bin/" in hook["entry"] for hook in hooks)
    assert hooks


def test_dependabot_looks_at_each_kind_of_dependency_once_a_week() -> None:
    updates = load_yaml(GITHUB / "dependabot.yml")["updates"]
    assert [each["package-ecosystem"] for each in updates] == ["pip", "docker", "github-actions"]
    assert all(each["schedule"] == {"interval": "weekly"} and each["groups"] for each in updates)


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_github_requires(form: Path) -> None:
    content = load_yaml(form)
    assert content["name"] and content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)


def test_there_are_forms_and_their_configuration() -> None:
    assert [form.stem for form in FORMS] == ["bug", "feature"]
    assert load_yaml(GITHUB / "ISSUE_TEMPLATE" / "config.yml") == {"blank_issues_enabled": False}
