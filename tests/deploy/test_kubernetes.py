"""The manifests: valid by Kubernetes's own schema, and in agreement with image, settings and commands."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import yaml
from django.core.management import get_commands

from tests.support.stack import ROOT
from tests.test_docs import documented

FOLDER = ROOT / "deploy" / "kubernetes"
#: The oldest version that the manifests promise, and the newest that the schemas know.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
#: Not objects of Kubernetes: of kustomize, and values of a Helm chart.
OTHERS = {"kustomization.yaml", "prometheus-adapter.yaml"}

Manifest = dict[str, Any]


def load(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def manifests() -> dict[str, Manifest]:
    """Return every object by its kind and name."""
    names = {path.name for path in FOLDER.glob("*.yaml")} - OTHERS
    return {f"{one['kind']}/{one['metadata']['name']}": one for name in sorted(names) for one in load(name)}


def pods() -> Iterator[tuple[str, Manifest]]:
    for name, manifest in manifests().items():
        if template := manifest.get("spec", {}).get("template"):
            yield name, template["spec"]


def containers() -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield name, container


def test_the_manifests_are_valid_in_the_versions_that_they_promise() -> None:
    found = manifests()
    kinds = {name.partition("/")[0] for name in found}
    assert {"Deployment", "Job", "HorizontalPodAutoscaler", "Ingress", "Service", "Secret"} <= kinds
    for version in VERSIONS:
        for manifest in found.values():
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kustomization_lists_every_file_but_those_that_are_made_by_hand() -> None:
    (kustomization,) = load("kustomization.yaml")
    files = {path.name for path in FOLDER.glob("*.yaml")} - OTHERS
    assert set(kustomization["resources"]) == files - {"secret.example.yaml"}
    assert {image["name"] for image in kustomization["images"]} == {
        container["image"] for _, container in containers()
    }


def test_the_autoscaler_asks_for_a_metric_that_the_adapter_makes() -> None:
    (adapter,) = load("prometheus-adapter.yaml")
    made = {rule["name"]["as"] for rule in adapter["rules"]["external"]}
    autoscaler = manifests()["HorizontalPodAutoscaler/worker"]["spec"]
    assert {metric["external"]["metric"]["name"] for metric in autoscaler["metrics"]} == made
    assert "replicas" not in manifests()[f"Deployment/{autoscaler['scaleTargetRef']['name']}"]["spec"]


def test_every_pod_runs_confined_as_the_user_of_the_image() -> None:
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for name, pod in pods():
        assert user and pod["securityContext"]["runAsUser"] == int(user[1]), name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers():
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"], name
        assert confined["capabilities"] == {"drop": ["ALL"]}, name
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}, name


def test_every_pod_waits_for_the_migrations_but_the_job_that_makes_them() -> None:
    waiting = {name for name, pod in pods() if pod.get("initContainers")}
    assert waiting == {"Deployment/web", "Deployment/worker", "Deployment/webhooks"}
    (job,) = manifests()["Job/migrate"]["spec"]["template"]["spec"]["containers"]
    assert "migrate" in job["command"] and "--check" not in job["command"]


def test_the_commands_exist() -> None:
    run = [container["command"] for _, container in containers() if "command" in container]
    assert len(run) > 5
    for command in run:
        assert command[:2] == ["python", "manage.py"] and command[2] in get_commands()
    for _, container in containers():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert (ROOT / container[probe]["exec"]["command"][1]).is_file()


def test_the_variables_are_those_of_the_settings_and_the_secret_ones_are_in_the_secret() -> None:
    rows = documented()
    config = manifests()["ConfigMap/imageextractor"]["data"]
    secret = manifests()["Secret/imageextractor"]["stringData"]
    assert set(config) - {"FORWARDED_ALLOW_IPS"} <= set(rows)
    assert set(secret) <= set(rows)
    assert not any(f"{name}_FILE" in rows[name].names for name in set(config) & set(rows))
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= set(secret)
