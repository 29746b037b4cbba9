"""The pages of the API do what they say: their snippets, run in their order against a cluster at work."""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factories import make_csv
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import ROOT, Cluster

DOCS = ROOT / "docs"


def snippets(language: str, page: str = "api.md") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as cluster:
        cluster.run(workers=1)
        yield cluster


@pytest.fixture
def here(tmp_path: Path, origin: Origin) -> Path:
    """A folder with a catalogue of two pictures, of which one is missing at its shop."""
    urls = [origin.add("/a.jpg", photo_jpeg(160, 120, seed=1)), origin.url("/missing.jpg")]
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "catalogue.csv").write_bytes(make_csv((1, "Lamp", ", ".join(urls)), (2, "Vase", urls[0])))
    return folder


def run(cluster: Cluster, here: Path, *command: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "clients" / "python" / "src"),
        "SERVICE": cluster.url,
        "TOKEN": cluster.token(),
    }
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def outputs(here: Path) -> list[str]:
    with (here / "result.csv").open(newline="", encoding="utf-8") as file:
        return [row["Output Image Urls"] for row in csv.DictReader(file)]


def test_there_are_no_other_snippets() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert text.count("```") == 2 * (len(snippets("sh")) + len(snippets("python")))


def test_the_job_with_curl(cluster: Cluster, here: Path) -> None:
    run(cluster, here, "bash", "-euo", "pipefail", "-c", "\n".join(snippets("sh")))
    preview, request, failures, retried, sized = (
        json.loads((here / f"{name}.json").read_text())
        for name in ("preview", "request", "failures", "retried", "renditions")
    )
    assert preview["images"] == {"total": 3, "distinct": 2}
    assert request["options"]["format"] == "webp"
    assert (sized["options"]["fit"], len(sized["options"]["renditions"])) == ("pad", 1)
    assert [group["code"] for group in failures["results"]] == ["http_404"]
    assert (retried["run"], retried["images"]["pending"]) == (2, 1)
    lamp, vase = outputs(here)
    assert lamp.startswith(vase)
    assert vase.endswith(".webp")
    assert "Vase" not in (here / "failed.csv").read_text()
    with zipfile.ZipFile(here / "images.zip") as archive:
        assert len(archive.namelist()) == 2
        assert archive.testzip() is None


def test_profiles_trials_and_feeds(cluster: Cluster, here: Path) -> None:
    (profile,) = snippets("json", "profiles.md")
    (trial,), (feed,) = snippets("sh", "profiles.md"), snippets("sh", "feeds.md")
    with cluster.client(headers={"Authorization": f"Token {cluster.token()}"}) as client:
        for name in ("Shop", "shop"):
            made = client.post("/api/profiles/", json=json.loads(profile) | {"name": name})
            assert made.status_code == 201, made.text
            assert made.json()["options"]["fit"] == "pad"
    run(cluster, here, "bash", "-euo", "pipefail", "-c", trial)
    assert len(json.loads((here / "trial.json").read_text())["pictures"]) == 2
    answer = json.loads(run(cluster, here, "bash", "-euc", feed.replace("…", "c2hvcDpwYXNz")))
    assert (answer["name"], answer["headers"], answer["time_zone"]) == (
        "Shop",
        ["Authorization"],
        "Europe/Paris",
    )
    assert answer["next_run_at"]


def test_the_job_with_python(cluster: Cluster, here: Path) -> None:
    printed = run(cluster, here, sys.executable, "-c", "\n".join(snippets("python"))).splitlines()
    assert printed[0] == "completed_with_errors 1 of 2"
    assert "/missing.jpg http_404 " in printed[1]
    assert all(url.startswith(cluster.url) for url in outputs(here))
