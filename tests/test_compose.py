"""docker-compose.yml and Dockerfile without an engine: valid by the Compose Specification and to hadolint; in
a clean clone everything that a service names is there, made by `prepare`, and readable for its user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

TOP = Path(__file__).parent.parent
TEXT = (TOP / "docker-compose.yml").read_text()
SECRET = re.compile(r"/(?:run/)?secrets/[\w./-]+")
CONFIGURED = {
    "demo": ["deploy/docker/demo.toml"],
    "collector": ["deploy/docker/collector.toml"],
    "grafana": ["deploy/grafana/provisioning/datasources/suuaba.yaml"],
}
"""What a service reads beside its part of docker-compose.yml."""


def wrong(text: str) -> str:
    """What an independent reader of the specification has against it."""
    try:
        compose = compose_spec.PyCompose.from_json(json.dumps(yaml.safe_load(text)))
        compose.validate()
        compose.to_spec()
    except ValueError as e:
        return str(e)
    return ""


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)["services"]
    return found


def test_it_is_what_the_compose_specification_says() -> None:
    assert wrong(TEXT) == ""


@pytest.mark.parametrize(
    ("right", "mistake"),
    [
        ("mem_limit: 512m", "mem_limt: 512m"),
        ("mem_limit: 512m", "mem_limit: lots"),
        ("service_healthy", "service_helthy"),
        ("interval: 10s", "interval: 10 parsecs"),
        ("gateway-secrets:/secrets:ro", "nosuch:/secrets:ro"),
        ('"127.0.0.1:8080:8080"', '"127.0.0.1:80x:8080"'),
        ("c 188:* rw", "c 188:* all"),
    ],
)
def test_a_mistake_in_it_would_be_seen(right: str, mistake: str) -> None:
    assert right in TEXT
    assert wrong(TEXT.replace(right, mistake))


def test_the_dockerfile_pleases_hadolint() -> None:
    linter = str(Path(sys.executable).with_name("hadolint"))

    def found(text: str) -> list[str]:
        done = subprocess.run([linter, "--format", "json", "-"], input=text, capture_output=True, text=True)
        return [f"{one['line']}: {one['code']} {one['message']}" for one in json.loads(done.stdout)]

    text = (TOP / "Dockerfile").read_text()
    assert found(text) == []
    assert found(text.replace("FROM debian:bookworm-slim\n", "FROM debian\n")) != []


def test_no_secret_is_built_into_the_image() -> None:
    text = (TOP / "Dockerfile").read_text()
    assert not re.findall(r"(?im)^(?:ARG|ENV)\b.*(?:password|token|secret|key)", text)
    for service in services().values():
        assert not re.search(r"(?i)arg|env_file", " ".join(map(str, service.get("build", "") or "")))


def test_a_clean_clone_needs_nothing_that_is_not_in_it() -> None:
    """No variable to set, no file to write, nothing that was there before; but for a real station."""
    assert not re.findall(r"\$\{?\w", TEXT)
    whole = yaml.safe_load(TEXT)
    assert all(volume is None for volume in whole["volumes"].values())
    for name, service in services().items():
        assert not {"env_file", "external_links"} & set(service), name
        if "profiles" not in service:
            binds = [v.split(":")[0] for v in service.get("volumes", []) if v.startswith(("/", "."))]
            assert all((TOP / bind).is_dir() for bind in binds), (name, binds)
        if "build" in service:
            assert (TOP / service["build"] / "Dockerfile").exists()


def test_every_secret_that_a_service_reads_is_made_for_it(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    shutil.copytree(TOP / "deploy/mosquitto", scripts / "mosquitto")
    shutil.copy(TOP / "deploy/certificates.sh", scripts)
    command = [sys.executable, str(TOP / "deploy/docker/prepare.py"), str(tmp_path / "s"), str(scripts)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = dict(volume.split(":") for volume in services()["prepare"]["volumes"])
    read = 0
    for name, service in services().items():
        texts = [json.dumps({key: value for key, value in service.items() if key != "volumes"})]
        texts += [(TOP / file).read_text() for file in CONFIGURED.get(name, [])]
        if name == "mosquitto":
            texts.append((tmp_path / "s/mosquitto/mosquitto.conf").read_text())
        places = dict(volume.split(":")[1::-1] for volume in service.get("volumes", []))
        for path in sorted({p for text in texts for p in SECRET.findall(text)} - {"/secrets/prepare.py"}):
            if name in ("prepare", "show") or "profiles" in service:
                continue
            place = max((p for p in places if path.startswith(f"{p}/")), key=len, default="")
            assert place, f"{name} reads {path}, and nothing is mounted there"
            folder = made[places[place]].removeprefix("/secrets/")
            file = tmp_path / "s" / folder / path.removeprefix(f"{place}/")
            assert file.is_file(), f"{name} reads {path}, which prepare does not make"
            user = int(str(service.get("user", "10001")).split(":")[0])
            assert os.geteuid() != 0 or file.stat().st_uid == user, f"{name} may not read {path}"
            read += 1
    assert read >= 15


def test_grafana_finds_what_its_provisioning_names() -> None:
    grafana = services()["grafana"]
    provisioning = TOP / "deploy/grafana/provisioning"
    texts = {file: file.read_text() for file in provisioning.glob("*/*.yaml")}
    named = {name for text in texts.values() for name in re.findall(r"\$\{?([A-Z][A-Z_]+)", text)}
    assert named <= set(grafana["environment"]), "a variable that nobody sets"
    places = dict(volume.split(":")[1::-1] for volume in grafana["volumes"])
    [provider] = yaml.safe_load(texts[provisioning / "dashboards/suuaba.yaml"])["providers"]
    assert len(list((TOP / places[provider["options"]["path"]]).glob("*.json"))) >= 8
    assert (TOP / places["/etc/grafana/provisioning"]).resolve() == provisioning
