"""A station to examine, and the findings that `suuaba doctor` has about it; for tests."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line
from gateway import config, doctor
from gateway.doctor_finding import Finding

HEAD = """
[station]
id = "{id}"
data = "{data}"
"""
TRUST = '[clock]\nsource = "trust"\n'
DUST = """
[[sensor]]
id = "dust1"
port = "{port}"
model = "plantower"
every = "1 s"
"""


def station(
    folder: Path, text: str = "", *, port: str = "/dev/serial/by-path/nothing", clock: str = ""
) -> Path:
    """A station.toml with one sensor on that port, and what else the text says."""
    file = folder / "station.toml"
    head = HEAD.format(id="doc-1", data=folder / "data") + (clock or TRUST)
    file.write_text(head + DUST.format(port=port) + text, encoding="utf-8")
    return file


def examine(file: Path) -> list[Finding]:
    return asyncio.run(doctor.examine(config.load(file, lenient=True)))


def about(findings: Sequence[Finding], check: str, thing: str | None = None) -> list[Finding]:
    return [f for f in findings if f.check == check and thing in (None, f.about)]


def one(findings: Sequence[Finding], check: str, thing: str | None = None) -> Finding:
    [found] = about(findings, check, thing)
    return found


def command(*arguments: str | Path, before: Sequence[str] = (), within_s: float = 90) -> Any:
    line = [*before, sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=within_s, check=False)


def report(*arguments: str | Path, before: Sequence[str] = ()) -> tuple[int, list[Finding]]:
    """`suuaba doctor --json` as a process: exit code and findings."""
    done = command("doctor", *arguments, "--json", before=before)
    assert "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout)
    assert all(finding.pop("title") for finding in said["findings"])
    return done.returncode, [Finding(**finding) for finding in said["findings"]]


# ── modem and contacts ──────────────────────────────────────────────────────────────────────────


def modem(folder: Path, emulated: ModemEmulator, more: str = "", *, clock: str = "") -> list[Finding]:
    async def scenario() -> list[Finding]:
        port = PtyPort([emulated], link_path=folder / "modem", line=Line(115200))
        await port.start()
        try:
            file = station(folder, f'[sms]\nmodem = "{folder}/modem"\n{more}', clock=clock)
            return await doctor.examine(config.load(file, lenient=True))
        finally:
            await port.stop()

    return about(asyncio.run(scenario()), "modem")
