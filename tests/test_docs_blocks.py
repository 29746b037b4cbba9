"""Every block of code in the documents is run by a test, or checked and listed with the reason why not."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.test_docs import DOCUMENTS, ROOT, documented

#: Pages whose blocks are run, by page and language, and the module that runs them.
RUN = {
    ("README.md", "console"): "tests/test_readme.py",
    ("README.md", "csv"): "tests/test_readme.py",
    ("clients/python/README.md", "python"): "tests/clients/test_python.py",
    ("docs/api.md", "python"): "tests/products/api/test_api_docs.py",
    ("docs/api.md", "sh"): "tests/products/api/test_api_docs.py",
    ("docs/feeds.md", "sh"): "tests/products/api/test_api_docs.py",
    ("docs/profiles.md", "json"): "tests/products/api/test_api_docs.py",
    ("docs/profiles.md", "sh"): "tests/products/api/test_api_docs.py",
    ("docs/recipes/cron.md", "console"): "tests/test_readme.py",
    ("docs/recipes/google-merchant.md", "console"): "tests/test_readme.py",
    ("docs/recipes/google-merchant.md", "xml"): "tests/test_readme.py",
    ("docs/recipes/magento.md", "console"): "tests/test_readme.py",
    ("docs/recipes/magento.md", "csv"): "tests/test_readme.py",
    ("docs/recipes/shopify.md", "console"): "tests/test_readme.py",
    ("docs/recipes/shopify.md", "csv"): "tests/test_readme.py",
    ("docs/recipes/woocommerce.md", "console"): "tests/test_readme.py",
    ("docs/recipes/woocommerce.md", "csv"): "tests/test_readme.py",
    ("docs/webhooks.md", "json"): "tests/processing/webhooks/test_docs.py",
    ("docs/webhooks.md", "python"): "tests/processing/webhooks/test_docs.py",
    ("docs/webhooks.md", "sh"): "tests/processing/webhooks/test_docs.py",
}
#: Blocks that are not run, and why. Below, those of shell commands, YAML, JSON and systemd are checked.
NOT_RUN = {
    ("CONTRIBUTING.md", "sh"): "sets a checkout up; CI does so before the tests",
    ("README.md", "sh"): "tests/support/stack.py starts a cluster by these commands",
    ("clients/python/README.md", "sh"): "installs a package",
    ("docs/architecture.md", "mermaid"): "a drawing",
    ("docs/formats.md", "console"): "runs a test of this suite",
    (
        "docs/operations.md",
        "sh",
    ): "needs containers: scripts/compose-smoke, and tests/faults/test_backup.py",
    ("docs/operations.md", "yaml"): "needs Prometheus",
    ("docs/performance.md", ""): "a plan that PostgreSQL printed",
    ("docs/recipes/b2.md", "sh"): "needs an account there",
    ("docs/recipes/caddy.md", "text"): "needs Caddy",
    ("docs/recipes/cron.md", "text"): "needs cron",
    ("docs/recipes/docker.md", "sh"): "needs containers: scripts/compose-smoke",
    ("docs/recipes/gcs.md", "sh"): "needs an account there",
    ("docs/recipes/grafana.md", "sh"): "writes to /etc",
    ("docs/recipes/grafana.md", "yaml"): "needs Prometheus",
    ("docs/recipes/kubernetes.md", "sh"): "needs Kubernetes",
    ("docs/recipes/kubernetes.md", "yaml"): "needs Kubernetes",
    ("docs/recipes/minio.md", "sh"): "needs MinIO; tests/s3 runs the commands on another store",
    ("docs/recipes/nginx.md", "nginx"): "needs nginx",
    ("docs/recipes/r2.md", "sh"): "needs an account there",
    ("docs/recipes/traces.md", "sh"): "needs containers",
    ("docs/recipes/systemd.md", "ini"): "needs systemd",
    ("docs/recipes/systemd.md", "sh"): "needs systemd",
    ("docs/upgrading.md", "sh"): "needs containers or Kubernetes",
}
#: Programs of others in such blocks.
OTHERS = {
    *(
        "aws",
        "cd",
        "cp",
        "curl",
        "docker",
        "export",
        "git",
        "gpg",
        "grep",
        "journalctl",
        "kubectl",
        "make",
        "pip",
    ),
    *("systemctl", "tar"),
}
#: After these words of a shell another command begins.
SEPARATORS = {";", "|", "&&", "||"}


class Block(NamedTuple):
    """A block of code."""

    page: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        page = path.relative_to(ROOT).as_posix()
        for language, text in re.findall(
            r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            yield Block(page, language, text)


def simple_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command, without redirections and what stands in front of the program."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            while words and (assigned := re.match(r"([A-Z_0-9]+)=", words[0])):
                assert_is_known(assigned[1])
                words.pop(0)
            if words:
                yield words[: words.index(">")] if ">" in words else words
            words = []


def assert_is_known(variable: str) -> None:
    assert variable in documented() or variable.startswith("OTEL_"), (
        f"docs/configuration.md has no {variable}"
    )


def check_command(words: list[str]) -> None:
    """Check that what a command names is there: scripts, commands and their arguments, services, files."""
    program, *arguments = words
    if "manage.py" in words:
        name, *arguments = words[words.index("manage.py") + 1 :]
        app = get_commands()[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        command.create_parser("manage.py", name).parse_args(arguments)
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), program
    elif program == "export":
        for word in arguments:
            assert_is_known(word.partition("=")[0])
    elif words[:2] == ["docker", "compose"]:
        check_compose(words[2:])
    elif program == "kubectl":
        check_kubectl(arguments)
    elif program.startswith(".venv/bin/"):
        assert program in (".venv/bin/gunicorn", ".venv/bin/python"), program
        assert all((ROOT / word).is_file() for word in words if word.endswith(".lock")), words
    else:
        assert program in OTHERS, program


def check_compose(words: list[str]) -> None:
    """Check that the services exist which a command of Compose names."""
    services = set(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"])
    subcommand, *rest = words
    named = [word for word in rest if not word.startswith("-")]
    scaled = [word.partition("=")[0] for word in named if "=" in word]
    named = [word for word in named if "=" not in word]
    if subcommand in ("run", "exec"):
        named = named[:1]
    assert subcommand in ("build", "exec", "logs", "ps", "run", "up"), subcommand
    assert set(named + scaled) <= services, words


def check_kubectl(arguments: list[str]) -> None:
    """Check that the folder and the objects exist which a command of kubectl names."""
    manifests = ROOT / "deploy" / "kubernetes"
    objects = {
        f"{one['kind'].lower()}/{one['metadata']['name']}"
        for path in manifests.glob("*.yaml")
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if one and "metadata" in one
    }
    for option, value in pairwise(arguments):
        if option == "-k":
            assert value == "." or ROOT / value == manifests, value
        if option == "job":
            assert f"job/{value}" in objects, value
    for option, word in pairwise(arguments):
        if option != "-k" and re.match(r"(deploy|deployment|job)/", word):
            assert re.sub(r"^deploy/", "deployment/", word) in objects, word


def test_each_block_is_run_or_has_a_reason_not_to_be() -> None:
    named = {(block.page, block.language) for block in blocks()}
    assert named == set(RUN) | set(NOT_RUN)
    assert not set(RUN) & set(NOT_RUN)
    for (page, _language), module in RUN.items():
        text = (ROOT / module).read_text(encoding="utf-8")
        assert Path(page).name in text or "RECIPES" in text, (page, module)


@pytest.mark.parametrize(
    "block",
    [block for block in blocks() if block.language == "sh" and (block.page, "sh") in NOT_RUN],
    ids=lambda block: block.page,
)
def test_commands_name_what_is_there(block: Block) -> None:
    for words in simple_commands(block.text):
        check_command(words)


@pytest.mark.parametrize(
    "block",
    [block for block in blocks() if block.language in ("yaml", "json", "ini")],
    ids=lambda block: f"{block.page}-{block.language}",
)
def test_files_can_be_read_and_their_commands_exist(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text.replace("…", ""))
    elif block.language == "yaml":
        assert all(yaml.safe_load_all(block.text))
    else:
        parser = ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(block.text)
        if "Service" in parser:  # not in a timer
            check_command(shlex.split(parser["Service"]["ExecStart"]))
