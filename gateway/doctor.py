"""`suuaba doctor`: looks at everything a station stands on, and says what helps where something is not well.

    findings = await examine(station)

Works while the service runs and when it does not: what the service holds (ports, modem) is not touched but
judged by what it has journaled; the journal is only read. Checks run side by side, each with a deadline, and
all of them end within `ALL_WITHIN_S`. See gateway.doctor_finding for what a finding is (decision D11).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway import config
from gateway.doctor_clock import check_clock
from gateway.doctor_disk import check_disk
from gateway.doctor_finding import LEVELS, Check, Finding, Level, Said, one_line, said, worst
from gateway.doctor_journal import Evidence, check_journal, gather
from gateway.doctor_words import LEVEL_WORDS, title, told
from gateway.errors import ConfigError

log = logging.getLogger(__name__)

ALL_WITHIN_S = 55.0
GATHER_WITHIN_S = 20.0
EXIT: dict[Level, int] = {"ok": 0, "warning": 1, "failure": 2}

Told = Callable[[str, Sequence[Finding]], object]
"""Called when a check is over: its name and what it found."""


def checks(wanted: config.Station, evidence: Evidence) -> dict[str, Check]:
    """All checks of this station by name, ready to run. What a check needs is imported only for it."""
    found: dict[str, Check] = {}

    async def contacts() -> Sequence[Finding]:
        from gateway.doctor_sms import check_contacts

        return check_contacts(wanted)

    found["configuration"] = lambda: _configuration(wanted)
    found["clock"] = lambda: check_clock(wanted, evidence)
    found["disk"] = lambda: check_disk(wanted, evidence)
    found["journal"] = lambda: check_journal(wanted, evidence)
    for wire in wanted.wires:
        found[f"port {wire.id}"] = _wire_check(wanted, wire, evidence)
    if wanted.mqtt is not None:
        found["broker"] = lambda: _broker(wanted)
    if wanted.influxdb is not None:
        found["database"] = lambda: _database(wanted)
    if wanted.grafana_live is not None:
        found["grafana live"] = lambda: _grafana_live(wanted)
    if wanted.sms is not None and wanted.sms.modem is not None:
        found["modem"] = lambda: _modem(wanted, evidence)
    if wanted.sms is not None and wanted.sms.second is not None:
        found["modem 2"] = lambda: _modem(wanted, evidence, second=True)
    if wanted.sms is not None and wanted.sms.provider is not None:
        found["provider"] = lambda: _provider(wanted)
    found["contacts"] = contacts
    return found


async def examine(wanted: config.Station, told: Told = lambda *_: None) -> list[Finding]:
    """Run every check and give what they found, in the order of the checks. Blocks up to `ALL_WITHIN_S`."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + ALL_WITHIN_S
    evidence = await gather(wanted, GATHER_WITHIN_S)
    runs = checks(wanted, evidence)
    tasks = {name: asyncio.create_task(_run(name, check, told), name=name) for name, check in runs.items()}
    await asyncio.wait(tasks.values(), timeout=max(end_s - loop.time(), 1.0))
    findings: list[Finding] = []
    for name, task in tasks.items():
        findings += await _result(name, task)
    return findings


def render(finding: Finding, language: str = "en") -> list[str]:
    """A finding as lines of plain text: what is, and what helps."""
    level = LEVEL_WORDS[language][finding.level]
    width = 1 + max(map(len, LEVEL_WORDS[language].values()))
    lines = [f"{level:<{width}} {title(finding, language)}: {told(finding.what, language)}"]
    return [*lines, f"{'':<{width}}   → {told(finding.remedy, language)}"] if finding.remedy else lines


def summary(findings: Sequence[Finding]) -> Said:
    """The report's last line."""
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    if not counts["warning"] and not counts["failure"]:
        return said("all good: {ok} checks", ok=counts["ok"])
    return said("{failure} failures, {warning} warnings, {ok} good", **counts)


def as_json(station: str, findings: Sequence[Finding], language: str = "en") -> str:
    """The report as one JSON object. `check`, `about` and `level` are the same in every language."""
    rows = [
        {
            "check": f.check, "about": str(f.about), "level": f.level, "title": title(f, language),
            "what": told(f.what, language), "remedy": told(f.remedy, language),
        }
        for f in findings
    ]  # fmt: skip
    whole = {"station": station, "level": worst(findings), "findings": rows}
    return msgspec.json.encode(whole).decode()


async def doctor(
    file: Path, say: Callable[[str], object], *, json: bool, progress: bool, language: str = "en"
) -> int:
    """`suuaba doctor`: examine and say it. Gives the exit code. Raises ConfigError: nothing can be used."""
    if language not in LEVEL_WORDS:
        raise ConfigError([f"--language: there is no {language!r}; there are {', '.join(LEVEL_WORDS)}"])
    try:
        wanted = config.load(file, lenient=True)
    except ConfigError as e:
        if not json:
            raise
        say(as_json("", broken_configuration(e), language))
        return EXIT["failure"]
    if json:
        findings = await examine(wanted)
        say(as_json(wanted.id, findings, language))
    elif progress:
        findings = await _with_progress(wanted)
    else:
        findings = await examine(wanted)
    if not json:
        for finding in findings:
            for line in render(finding, language):
                say(line)
        say(told(summary(findings), language))
    return EXIT[worst(findings)]


def broken_configuration(e: ConfigError) -> list[Finding]:
    """What is found where the file cannot be used at all."""
    return [Finding("configuration", "", "failure", one_line(line)) for line in e.lines]


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _with_progress(wanted: config.Station) -> list[Finding]:
    """Show which checks are still under way, on standard error, while they are."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        total = len(checks(wanted, Evidence()))
        task = bar.add_task("reading the journal", total=total)

        def told(name: str, findings: Sequence[Finding]) -> None:
            bar.update(task, advance=1, description=f"{name}: {worst(findings)}")

        return await examine(wanted, told)


async def _run(name: str, check: Check, told: Told) -> Sequence[Finding]:
    found = await check()
    told(name, found)
    return found


async def _result(name: str, task: asyncio.Task[Sequence[Finding]]) -> Sequence[Finding]:
    """What a check found; a check that did not end, or broke, is a finding too: it hides no other."""
    check, _, about = name.partition(" ")
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=2.0)
        return [Finding(check, about, "failure", said("the check did not end in time"), said("try again"))]
    e = task.exception()
    if e is None:
        return task.result()
    log.debug("%s", name, exc_info=e)
    text = said("the check itself broke: {why}", why=f"{type(e).__name__}: {one_line(e)}")
    return [Finding(check, about, "failure", text, said("report this: it is a mistake in this program"))]


async def _configuration(wanted: config.Station) -> list[Finding]:
    from gateway.alarms_config import watch

    wrong = [Finding("configuration", "", "failure", one_line(line)) for line in wanted.left_out]
    wrong += [Finding("configuration", "", "warning", one_line(line)) for line in wanted.warnings]
    try:
        watch(wanted)
    except ConfigError as e:
        wrong += broken_configuration(e)
    sensors, sinks = len(wanted.sensors), (wanted.mqtt is not None) + (wanted.influxdb is not None)
    text = said(
        "{file}: {sensors} instruments, {sinks} sinks, {rules} rules",
        file=wanted.file.name, sensors=sensors, sinks=sinks, rules=len(wanted.rules),
    )  # fmt: skip
    return wrong or [Finding("configuration", "", "ok", text)]


def _wire_check(wanted: config.Station, wire: config.Wire, evidence: Evidence) -> Check:
    async def check() -> Sequence[Finding]:
        from gateway.doctor_ports import check_wire

        return await check_wire(wanted, wire, evidence)

    return check


async def _broker(wanted: config.Station) -> Sequence[Finding]:
    from gateway.doctor_network import check_broker

    return await check_broker(wanted)


async def _database(wanted: config.Station) -> Sequence[Finding]:
    from gateway.doctor_database import check_database

    return await check_database(wanted)


async def _grafana_live(wanted: config.Station) -> Sequence[Finding]:
    from gateway.doctor_grafana import check_grafana_live

    return await check_grafana_live(wanted)


async def _modem(wanted: config.Station, evidence: Evidence, *, second: bool = False) -> Sequence[Finding]:
    from gateway.doctor_sms import check_modem

    return await check_modem(wanted, evidence, second=second)


async def _provider(wanted: config.Station) -> Sequence[Finding]:
    from gateway.doctor_sms import check_provider

    return await check_provider(wanted)
