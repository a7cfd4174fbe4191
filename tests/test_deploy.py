"""What is deployed, against the code. Docker and Kubernetes are not run here: the files are held to schemas and each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from routing.settings import PREFIX, Settings, load_settings
from serving import Address, check

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS: dict[str, dict[str, Any]] = {
    row["kind"]: row for row in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8"))
}
POD = MANIFESTS["Deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "image": TEXT,
        "build": TEXT,
        "profiles": TEXTS,
        "command": TEXTS,
        "deploy": {"type": "object", "properties": {"replicas": {"type": "integer"}}, "additionalProperties": False},
        "depends_on": {"type": ["array", "object"]},
        "env_file": TEXTS,
        "environment": {"type": "object", "additionalProperties": TEXT},
        "ports": TEXTS,
        "volumes": TEXTS,
        "secrets": TEXTS,
        "tmpfs": TEXTS,
        "cap_drop": TEXTS,
        "security_opt": TEXTS,
        "read_only": {"type": "boolean"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "healthcheck": {
            "type": "object",
            "properties": {"test": TEXTS, "interval": TEXT, "timeout": TEXT, "retries": {"type": "integer"}},
            "additionalProperties": False,
        },
    },
}
"""As much of the Compose specification as compose.yaml uses (https://github.com/compose-spec/compose-spec)."""

COMPOSE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["services"],
    "properties": {
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object"},
        "secrets": {"type": "object", "additionalProperties": {"type": "object", "required": ["file"]}},
    },
}


def test_compose_is_what_its_specification_allows_and_names_only_what_it_has() -> None:
    jsonschema.validate(COMPOSE, COMPOSE_SCHEMA)
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", [])) <= COMPOSE["services"].keys()
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        sources = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert all(source in COMPOSE["volumes"] or (ROOT / source).is_file() for source in sources)


def test_the_manifests_select_and_mount_what_they_have() -> None:
    assert MANIFESTS.keys() == {"Deployment", "Service", "PodDisruptionBudget"}
    deployment, service, budget = (MANIFESTS[kind]["spec"] for kind in ("Deployment", "Service", "PodDisruptionBudget"))
    labels = POD["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == service["selector"] == budget["selector"]["matchLabels"] == labels
    assert budget["minAvailable"] < deployment["replicas"]
    ports = {port["name"] for port in CONTAINER["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["spec"]["volumes"]
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]


def test_probes_ask_pages_that_there_are_by_a_name_that_is_answered() -> None:
    asked = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [probe["path"] for probe in asked.values()] == ["/healthz", "/healthz", "/readyz"]
    for probe in asked.values():
        assert probe["httpHeaders"] == [
            {"name": "Host", "value": f"localhost:{CONTAINER['ports'][0]['containerPort']}"}
        ]


def settings_named() -> Iterator[Mapping[str, str]]:
    yield {**COMPOSE["services"]["pointsman"]["environment"], "POINTSMAN_ALLOWED_HOSTS": "mcp.example.com"}
    yield {row["name"]: row["value"] for row in CONTAINER["env"]}


@pytest.mark.parametrize("named", list(settings_named()), ids=["compose", "kubernetes"])
def test_the_server_would_start_with_these_settings(named: Mapping[str, str], tmp_path: Path) -> None:
    settings = load_settings(named, tmp_path)
    check(Address(transport="streamable-http", host="0.0.0.0", port=0), settings)  # noqa: S104 - as in a container
    assert settings.open_probes


def test_a_server_has_time_to_drain_before_it_is_killed() -> None:
    drain = Settings.model_fields["drain_seconds"].default
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] >= drain + pause + 10
    assert int(COMPOSE["services"]["pointsman"]["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_the_image_holds_what_the_wheel_holds() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    copied = {
        source.rstrip("/").removeprefix("./")
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == {*wheel["only-include"], "requirements-team.txt"} - {"__main__.py"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}


def test_the_image_runs_as_nobody_special_from_packages_with_hashes() -> None:
    assert "--require-hashes" in DOCKERFILE
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == [str(POD["spec"]["securityContext"]["runAsUser"])]
    packages = (ROOT / "requirements-team.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in packages for name in ("psycopg", "psycopg-binary", "psycopg-pool", "redis"))
    assert "://" not in packages


def test_images_are_named_without_a_host() -> None:
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    images += [CONTAINER["image"], *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)]
    assert all("." not in image.split(":")[0] and ":" in image for image in images)


def test_every_setting_that_the_files_speak_of_is_one() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    files = [
        "Dockerfile",
        "compose.yaml",
        "deploy/kubernetes.yaml",
        "deploy/haproxy.cfg",
        "docs/guides/many-servers.md",
    ]
    said = {
        name for file in files for name in re.findall(r"POINTSMAN_[A-Z_]+", (ROOT / file).read_text(encoding="utf-8"))
    }
    assert said <= known
