"""Dockerfile and docker-compose.yml: what they must hold to, what `prepare` makes, and the image itself,
built and run by buildah on a Debian made by debootstrap (no Docker engine is needed).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import machine
from tests.services import free_port, until

TOP = Path(__file__).parent.parent
BASE = "docker.io/library/debian:bookworm-slim"
MOST_MB = 180


def compose() -> dict[str, Any]:
    return yaml.safe_load((TOP / "docker-compose.yml").read_text())  # type: ignore[no-any-return]  # as yaml has it


def test_compose_guards_every_service_and_names_no_secret() -> None:
    given = compose()
    for name, service in given["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if service.get("user") == "0:0":
            assert service["network_mode"] == "none", name
        for key, value in (service.get("environment") or {}).items():
            if "PASSWORD" in key or "TOKEN" in key:
                assert key.endswith("_FILE"), key
                assert str(value).startswith(("/secrets/", "/run/secrets/")), value
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./deploy"):
                assert (TOP / source).exists(), source
            elif not source.startswith((".", "/")):
                assert source in given["volumes"], source
        for needed in service.get("depends_on", {}):
            assert needed in given["services"], needed


def test_the_dockerfile_ends_without_root_and_can_be_asked_for_health() -> None:
    text = (TOP / "Dockerfile").read_text()
    last = text.rsplit("\nFROM ", 1)[1]
    assert "\nUSER 10001:10001\n" in last
    assert "\nHEALTHCHECK " in last
    assert "/healthz" in last
    assert "--no-install-recommends" in last
    assert ":latest" not in text
    assert "ADD " not in text
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("COPY ") and "--from" not in line and ". /source" not in line:
            assert all((TOP / source).exists() for source in line.split()[1:-1]), line


def test_prepare_draws_every_secret_once_and_mosquitto_takes_its_passwords(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    shutil.copytree(TOP / "deploy/mosquitto", scripts / "mosquitto")
    shutil.copy(TOP / "deploy/certificates.sh", scripts)
    command = ["python3", str(TOP / "deploy/docker/prepare.py"), str(tmp_path / "secrets"), str(scripts)]
    machine.run(command)
    files = {f: f.read_bytes() for f in (tmp_path / "secrets").glob("*/*")}
    assert "nothing, all is there" in machine.run(command)
    assert {f: f.read_bytes() for f in (tmp_path / "secrets").glob("*/*")} == files
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    # the real broker lets the demo in by the very files, and nobody by another password
    broker = tmp_path / "secrets/mosquitto"
    port = free_port()
    text = (broker / "mosquitto.conf").read_text().replace("/secrets/", f"{broker}/")
    text = text.replace("/mosquitto/data/", f"{tmp_path}/").replace(
        "listener 8883", f"listener {port} 127.0.0.1"
    )
    text = text.replace("listener 8884", f"listener {free_port()} 127.0.0.1")
    (tmp_path / "mosquitto.conf").write_text(f"{text}\nuser root\n")
    path = f"{os.environ['PATH']}:/usr/sbin"
    server = subprocess.Popen(
        [shutil.which("mosquitto", path=path) or "mosquitto", "-c", str(tmp_path / "mosquitto.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        password = (tmp_path / "secrets/gateway/mqtt.password").read_text().strip()

        def publishes(word: str) -> bool:
            words = [
                "mosquitto_pub",
                "-p",
                str(port),
                "--cafile",
                str(tmp_path / "secrets/gateway/ca.crt"),
                "-h",
            ]
            words += [
                "localhost",
                "-u",
                "kanysh-kyia-1",
                "-P",
                word,
                "-t",
                "suuaba/1/kanysh-kyia-1/x",
                "-m",
                "1",
            ]
            return subprocess.run(words, capture_output=True, timeout=20).returncode == 0

        until("a message taken", lambda: publishes(password), 20)
        assert not publishes("another")
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.image
def test_the_image_builds_is_small_and_its_demo_answers(tmp_path: Path) -> None:
    empty = buildah("from", "scratch")
    mounted = Path(buildah("mount", empty))
    machine.run(["cp", "-a", f"{machine.base()}/.", str(mounted)])
    for waste in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(mounted / waste)
        (mounted / waste).mkdir()
    buildah("umount", empty)
    made = [buildah("commit", "--rm", empty, BASE)]
    outside = ["/etc/ssl/certs", "/etc/resolv.conf"]  # this machine's way to the package registry
    volumes = [word for place in outside for word in ("--volume", f"{place}:{place}:ro")]
    built = [
        "bud",
        "--isolation",
        "chroot",
        "--pull-never",
        "--layers=false",
        *volumes,
        "--tag",
        "suuaba-test",
    ]
    made.insert(0, buildah(*built, str(TOP)))
    running = buildah("from", "--pull-never", "suuaba-test")
    try:
        root = Path(buildah("mount", running))
        before = buildah("from", "--pull-never", BASE)
        base_mb = megabytes(Path(buildah("mount", before)))
        buildah("rm", before)
        beyond = megabytes(root) - base_mb
        assert 0 < beyond <= MOST_MB
        assert not (root / "source").exists()
        assert list(root.glob("opt/suuaba/lib/python3*/site-packages/gateway/web/static/vendor/uPlot*.js"))
        command = [
            "buildah",
            "run",
            "--isolation",
            "chroot",
            "--user",
            "10001:10001",
            running,
            "--",
            "suuaba",
            "demo",
        ]
        with (tmp_path / "said").open("wb") as said:
            demo = subprocess.Popen([*command, "--seconds", "60"], stdout=said, stderr=said)
            try:
                until("the page", lambda: b"page: http" in (tmp_path / "said").read_bytes(), 60)
                text = (tmp_path / "said").read_text()
                address = text.partition("page: ")[2].split()[0]
                ask = f"import urllib.request as u; print(u.urlopen('{address}/healthz', timeout=4).status)"
                inside = ["run", "--isolation", "chroot", running, "--", "python", "-c", ask]
                assert buildah(*inside) == "200"
            finally:
                demo.wait(90)
    finally:
        buildah("rm", running)
        buildah("rmi", "--force", *made)  # they would pile up


def buildah(*words: str) -> str:
    said = machine.run(["buildah", *words], within_s=900).split()
    return said[-1] if said else ""


def megabytes(root: Path) -> int:
    return int(machine.run(["du", "-smx", "--apparent-size", str(root)]).split()[0])
