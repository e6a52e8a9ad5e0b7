"""deploy/install.sh on a clean Debian 12 and 13 that boot, without a network: from nothing to a station
that lives, upgrade, roll-back, uninstall.

It takes root, and the network for the first root and for the wheels. Without root it is skipped, never in CI.
The tests of the machine are the chapters of one story: they run in this order, on one machine at a time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import SUITES, Machine, clean, run

TOP = Path(__file__).parent.parent
DEPLOY = TOP / "deploy"
TARGETS = ("x86_64-3.11", "x86_64-3.13", "aarch64-3.11", "aarch64-3.13")
"""Debian 12 and 13 like the machines below; Raspberry Pis with bookworm and trixie."""
STATION = """
[station]
id = "st-1"

[[sensor]]
id = "ph1"
port = "tcp://127.0.0.1:5020"
model = "yosemitech-y532"
address = 1

[mqtt]
url = "embedded"

[web]
password = { file = "web.password" }
"""
HEALTHZ = "python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=5)\""
pytestmark = pytest.mark.deploy  # not among the tests that every machine can run: make test-deploy
rights = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="a machine of its own takes root"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "stick"
    run(["sh", str(DEPLOY / "bundle.sh"), str(folder), *TARGETS], within_s=600)
    return folder


@pytest.fixture(scope="module", params=list(SUITES))
def machine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Machine]:
    one = Machine(tmp_path_factory.mktemp("debian"), request.param)
    yield one
    one.close()


def other_version(bundle: Path, target: Path, version: str, station: str = "") -> None:
    """The same bundle with another version number; `station` is put in front of gateway/station.py."""
    shutil.copytree(bundle, target)
    [wheel] = target.glob("wheels/suuaba-*.whl")
    old = wheel.name.split("-")[1]
    with (
        zipfile.ZipFile(wheel) as given,
        zipfile.ZipFile(wheel.with_name(wheel.name.replace(old, version)), "w") as made,
    ):
        for name in given.namelist():
            content = given.read(name)
            if name.endswith(".dist-info/METADATA"):
                content = content.replace(f"Version: {old}".encode(), f"Version: {version}".encode(), 1)
            if name.endswith(".dist-info/RECORD"):
                content = re.sub(rb",sha256=[^,]*,\d*", b",,", content).replace(
                    old.encode(), version.encode()
                )
            if name == "gateway/station.py":
                content = content.replace(b"from __future__ import annotations\n", b"").replace(
                    b'"""', b'from __future__ import annotations\n"""', 1
                )
                content = content.replace(b"\nimport ", b"\n" + station.encode() + b"\nimport ", 1)
            made.writestr(name.replace(f"suuaba-{old}", f"suuaba-{version}"), content)
    wheel.unlink()
    hashes = run([sys.executable, str(DEPLOY / "hashes.py"), str(target / "wheels")])
    (target / "requirements.txt").write_text(hashes)
    sums(target)


def sums(bundle: Path) -> None:
    command = "find . -type f ! -name SHA256SUMS | xargs sha256sum > /dev/shm/$$ && mv /dev/shm/$$ SHA256SUMS"
    subprocess.run(["sh", "-c", command], cwd=bundle, check=True)


def test_a_bundle_has_a_ready_made_wheel_of_everything_for_every_machine(bundle: Path) -> None:
    names = {wheel.name for wheel in bundle.glob("wheels/*.whl")}
    for native in ("pydantic_core", "msgspec", "aiohttp"):
        for tag in (f"cp{v}-cp{v}-manylinux.*{m}" for v in (311, 313) for m in ("x86_64", "aarch64")):
            assert [n for n in names if re.match(f"{native}-.*{tag}", n)], (native, tag, sorted(names))
    required = (bundle / "requirements.txt").read_text()
    assert all(line.count("==") == 1 and "--hash=sha256:" in line for line in required.splitlines())
    assert "://" not in required
    constraints = set((TOP / "constraints.txt").read_text().lower().replace("_", "-").split())
    ours = {line.split()[0] for line in required.splitlines()}
    assert {one for one in ours - constraints if not one.startswith("suuaba==")} == set()


@rights
@pytest.mark.parametrize("suite", SUITES)
def test_a_clean_debian_can_be_made(suite: str) -> None:
    assert (clean(suite) / "usr/lib/systemd/systemd").exists()
    # no python3-venv: nothing is needed
    assert not list(clean(suite).glob("usr/lib/python3.*/ensurepip/__main__.py"))


@rights
def test_a_damaged_stick_changes_nothing(machine: Machine, bundle: Path) -> None:
    shutil.copytree(bundle, machine.root / "root/stick")
    with next((machine.root / "root/stick/wheels").glob("aiohttp-*")).open("r+b") as damaged:
        damaged.write(b"?")
    refused = machine.try_("/root/stick/install.sh")
    assert refused.returncode == 1
    assert "is damaged; copy it anew. Nothing was changed" in refused.stderr
    assert not (machine.root / "opt/suuaba").exists()
    shutil.rmtree(machine.root / "root/stick")
    shutil.copytree(bundle, machine.root / "root/stick")


@rights
def test_it_is_installed_and_not_started_while_station_toml_is_the_example(machine: Machine) -> None:
    said = machine.run("/root/stick/install.sh --appliance", within_s=170)
    assert "is still the example" in said
    assert machine.run("id -nG suuaba").split() == ["suuaba", "dialout"]
    assert machine.run("stat -c '%a %U %G' /etc/suuaba/secrets /etc/suuaba/station.toml").splitlines() == [
        "700 root root",
        "640 root suuaba",
    ]
    assert machine.try_("systemctl is-active suuaba").stdout.strip() == "inactive"
    assert (machine.root / "etc/systemd/journald.conf.d/suuaba.conf").exists()
    assert machine.try_("systemctl is-enabled tmp.mount").stdout.strip() in ("enabled", "static")  # 12, 13


@rights
@pytest.mark.parametrize("unit", ["suuaba.service", "suuaba-collect@centre.service"])
def test_its_units_are_accepted_and_shut_in(machine: Machine, unit: str) -> None:
    verified = machine.try_(f"systemd-analyze verify {unit}")
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    file = f"/etc/systemd/system/{unit.replace('centre', '')}"
    score = machine.run(f"systemd-analyze security --offline=true {file} | tail -n 1")
    found = re.search(r": (\d+\.\d+)", score)
    assert found is not None, score
    assert float(found[1]) <= 2.0, score


@rights
def test_udev_understands_its_rules(machine: Machine) -> None:
    if machine.try_("udevadm verify --help").returncode == 0:  # since systemd 254: Debian 13
        machine.run("udevadm verify --resolve-names=never /etc/udev/rules.d/70-suuaba.rules")
    else:
        assert "bookworm" in (machine.root / "etc/os-release").read_text()


@rights
def test_with_a_station_toml_it_lives_and_its_secret_reaches_it(machine: Machine) -> None:
    (machine.root / "etc/suuaba/station.toml").write_text(STATION)
    secret = machine.root / "etc/suuaba/secrets/web.password"
    secret.write_text("a word of this test\n")
    secret.chmod(0o600)
    machine.run("/root/stick/install.sh --trial 3", within_s=170)
    assert (machine.root / "etc/suuaba/station.toml").read_text() == STATION
    assert machine.run("systemctl is-active suuaba") == "active"
    assert machine.run("systemctl is-enabled suuaba") == "enabled"
    assert machine.run("readlink /opt/suuaba/good") == machine.run("readlink /opt/suuaba/current")
    machine.until(HEALTHZ)
    assert machine.try_("su -s /bin/sh suuaba -c 'cat /etc/suuaba/secrets/web.password'").returncode != 0
    log = machine.run("journalctl -u suuaba --no-pager")
    assert "web.password" not in log  # where a secret is not found, that is said
    assert "a word of this test" not in log
    pid = machine.run("systemctl show -P MainPID suuaba")
    machine.run("systemctl reload suuaba")
    assert machine.run("systemctl show -P MainPID suuaba") == pid
    assert machine.run(f"grep CapBnd /proc/{pid}/status").split()[1] == "0" * 16


@rights
def test_an_upgrade_that_does_not_live_is_taken_back(machine: Machine, bundle: Path) -> None:
    other_version(bundle, machine.root / "root/stick2", "0.2.0")
    machine.run("/root/stick2/install.sh --upgrade --trial 2", within_s=170)
    second = machine.run("readlink /opt/suuaba/current")
    assert second.startswith("0.2.0-")
    other_version(bundle, machine.root / "root/stick3", "0.3.0", station="raise SystemExit(3)")
    failed = machine.try_("/root/stick3/install.sh --upgrade --trial 2", within_s=170)
    assert failed.returncode == 1, failed.stdout
    assert f"did not live; back to {second}, which lives" in failed.stderr
    assert machine.run("readlink /opt/suuaba/current") == second
    machine.until(HEALTHZ)


@rights
def test_a_version_that_fails_later_with_nobody_there_is_taken_back_too(machine: Machine) -> None:
    good = machine.run("readlink /opt/suuaba/good")
    bad = machine.run("cd /opt/suuaba && echo 0.3.0-*")
    quick = machine.root / "etc/systemd/system/suuaba.service.d/quick.conf"
    quick.parent.mkdir()
    quick.write_text("[Service]\nRestartSec=100ms\n")
    start = f"ln -sfn {bad} /opt/suuaba/current; systemctl restart --no-block suuaba"
    machine.run(f"systemctl daemon-reload; {start}")
    machine.until(
        f'[ "$(readlink /opt/suuaba/current)" = {good} ] && systemctl is-active suuaba', within_s=90
    )
    machine.until(HEALTHZ)


@rights
def test_by_hand_to_the_version_before(machine: Machine) -> None:
    machine.run("/root/stick/install.sh --roll-back --trial 1")
    assert machine.run("readlink /opt/suuaba/current").startswith("0.1.0-")
    machine.until(HEALTHZ)


@rights
def test_uninstalled_the_data_stay_until_they_are_purged(machine: Machine) -> None:
    machine.run("/root/stick/install.sh --uninstall")
    for gone in (
        "opt/suuaba",
        "etc/systemd/system/suuaba.service",
        "etc/systemd/system/multi-user.target.wants/suuaba.service",
        "etc/systemd/system.conf.d/suuaba.conf",
        "etc/udev/rules.d/70-suuaba.rules",
        "usr/local/bin/suuaba",
    ):
        assert not os.path.lexists(machine.root / gone), gone
    assert (machine.root / "etc/suuaba/station.toml").exists()
    assert list((machine.root / "var/lib/suuaba").iterdir())
    machine.run("/root/stick/install.sh --uninstall --purge")
    assert not (machine.root / "var/lib/suuaba").exists()
    assert machine.try_("id suuaba").returncode != 0
