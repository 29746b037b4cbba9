"""A client that is generated from the OpenAPI schema: its modules compile, and say what the API answers."""

import compileall
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

#: The generator knows no files but `application/octet-stream`, and would call ruff by its bare name.
CONFIGURATION = """
post_hooks: []
content_type_overrides:
  application/zip: application/octet-stream
  application/vnd.openxmlformats-officedocument.spreadsheetml.sheet: application/octet-stream
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that openapi-python-client generates."""
    folder = tmp_path_factory.mktemp("generated")
    call_command("spectacular", "--format", "openapi-json", "--file", str(folder / "schema.json"))
    (folder / "configuration.yml").write_text(CONFIGURATION)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", "schema.json", "--output-path", "api_client"]
    command += ["--config", "configuration.yml", "--fail-on-warning"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "api_client"


def test_a_python_client_is_generated_without_warnings_and_compiles(package: Path) -> None:
    assert compileall.compile_dir(package, quiet=1)
    calls = {path.stem for path in (package / "api").rglob("*.py")}
    assert {"api_requests_create", "api_requests_retrieve", "api_feeds_create"} <= calls


def test_its_models_know_what_a_request_has(package: Path) -> None:
    program = (
        "from api_client.models import Request\nimages = Request.__annotations__['images']\nprint(images)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=package.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().strip("'") == "RequestImages", done.stderr
