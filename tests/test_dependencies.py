"""The locked versions against those of which faults are known."""

import re
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def test_no_locked_version_has_a_known_fault() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    table = text.partition("## Versions with known faults")[2]
    oldest = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", table, re.MULTILINE))
    assert len(oldest) >= 10
    for name in ("requirements.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
        found = {library: locked[library] for library in oldest if library in locked}
        assert {
            one: version for one, version in found.items() if Version(version) < Version(oldest[one])
        } == {}
        assert "gunicorn" in found


def test_the_audit_is_part_of_ci() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: make audit" in workflow
    script = (ROOT / "scripts" / "audit").read_text(encoding="utf-8")
    assert "pip-audit" in script and "requirements.lock requirements-dev.lock" in script


def test_the_lock_with_all_extras_has_the_versions_of_the_others() -> None:
    pins = {
        name: set(re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-extras.lock", "requirements-dev.lock")
    }
    assert pins["requirements.lock"] < pins["requirements-extras.lock"] < pins["requirements-dev.lock"]
