"""The doctor's look at a port and at the instruments on it.

A port that the service holds is left alone: its instruments are judged by what the journal has of them. A
free one is opened, and each instrument is read once; nothing is written to an instrument but the question.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drivers.base import InstrumentError, InstrumentFault, NoAnswer, NotReady, PortLost
from drivers.link import Link
from gateway import config
from gateway.bus_sensor import WARMING_S
from gateway.clock import Clock
from gateway.doctor_finding import Finding, Said, in_thread, one_line, said
from gateway.doctor_journal import Evidence
from gateway.model import Stamp

LOOK_WITHIN_S = 10.0
WIRE_WITHIN_S = 25.0
"""All instruments of one port together."""
READ_WITHIN_S = 8.0
TRIES = 2
SHOWN = 4
"""Quantities of an answer that are shown; a dust sensor has a dozen."""
STALE_CYCLES = 3
STALE_S = 30.0
"""A sensor that the service reads is late when its last reading is older than both."""


@dataclass(frozen=True, slots=True)
class Port:
    """What there is to see of a serial port without opening it."""

    path: str
    exists: bool
    dangling: bool = False
    """A link that leads nowhere: nothing is plugged in where it points."""
    is_device: bool = True
    allowed: bool = True
    group: str = ""
    holders: tuple[tuple[int, str], ...] = ()
    """Processes that have it open, and their names; only those that this user may look at."""
    better: str = ""
    """The name by the place where it is plugged in."""
    others: tuple[str, ...] = ()
    """Where nothing is: which ports there are."""


async def check_wire(wanted: config.Station, wire: config.Wire, evidence: Evidence) -> Sequence[Finding]:
    """The port of a wire, then its instruments."""
    found = list(await check_port(wire.port, wire.id, evidence))
    held = any(f.what.startswith("the service has it") for f in found)
    if held or (evidence.pid is not None and "://" in wire.port):
        return [*found, *(journaled(sensor, evidence, wanted.timezone) for sensor in wire.sensors)]
    if any(finding.level == "failure" for finding in found):
        return found
    link = Link(wire.port, wire.line, framing=wire.framing, echo=wire.echo)
    try:
        await link.open()
        found += await _ask(wanted, wire, link)
    except PortLost as e:
        found.append(_not_opened(wire.id, wire.port, e))
    finally:
        link.close()
    return found


async def check_port(port: str, about: str, evidence: Evidence) -> Sequence[Finding]:
    """A port without opening it; a network address is only named."""
    if "://" in port:
        return [Finding("port", about, "ok", said("{port}: over the network", port=port))]
    try:
        seen = await in_thread(lambda: look(port), LOOK_WITHIN_S)
    except TimeoutError:
        text = said("{port} does not answer a look", port=port)
        return [Finding("port", about, "failure", text, said("unplug it and plug it in again"))]
    return judge(seen, about, evidence.pid)


def judge(port: Port, about: str, service: int | None) -> list[Finding]:
    """What a port's looks mean. Pure."""
    if not port.exists:
        text = said("{port} is not there", port=port.path)
        if port.dangling:
            text = said("{port} leads nowhere: nothing is plugged in there", port=port.path)
        remedy = said("plug it in, or correct port; no serial port is plugged in")
        if port.others:
            known = ", ".join(port.others)
            remedy = said("plug it in, or correct port; there are: {known}", known=known)
        return [Finding("port", about, "failure", text, remedy)]
    if not port.is_device:
        text = said("{port} is no serial port", port=port.path)
        return [Finding("port", about, "failure", text, said("correct port in station.toml"))]
    found = []
    strangers = [f"{name} (process {pid})" for pid, name in port.holders if pid != service]
    if strangers:
        modems = any("odem" in name for name in strangers)
        remedy = said("end that program, or give it another port")
        if modems:
            remedy = said("sudo systemctl disable --now ModemManager")
        text = said("{port} is held by {holders}", port=port.path, holders=", ".join(strangers))
        found.append(Finding("port", about, "failure", text, remedy))
    elif any(pid == service for pid, _ in port.holders):
        found.append(Finding("port", about, "ok", said("the service has it: {port}", port=port.path)))
    elif not port.allowed:
        group = port.group or "dialout"
        remedy = said("sudo usermod -aG {group} {user}, then log in again", group=group, user=_user())
        if service is not None:
            remedy = said(
                "the service may have it all the same; to look closer: sudo suuaba doctor ({else_})",
                else_=remedy,
            )
        text = said("{port}: this user may not use it (group {group})", port=port.path, group=group)
        found.append(Finding("port", about, "warning" if service else "failure", text, remedy))
    else:
        found.append(Finding("port", about, "ok", said("{port} is there and free", port=port.path)))
    if re.search(r"/tty(USB|ACM)\d+$", port.path):
        remedy = said("name it by /dev/serial/by-path or by-id")
        if port.better:
            remedy = said('write port = "{better}"', better=port.better)
        text = said("{port} may have another number after the next start", port=port.path)
        found.append(Finding("port", about, "warning", text, remedy))
    return found


def look(path: str, dev: Path = Path("/dev"), proc: Path = Path("/proc")) -> Port:
    """See what there is. Blocks for some milliseconds. Raises OSError."""
    real = os.path.realpath(path)
    try:
        at = os.stat(path)
    except FileNotFoundError:
        return Port(path, False, dangling=os.path.islink(path), others=tuple(_ports(dev)))
    except PermissionError:
        return Port(path, True, allowed=False)
    try:
        group = grp.getgrgid(at.st_gid).gr_name
    except KeyError:
        group = str(at.st_gid)
    return Port(
        path,
        True,
        is_device=stat.S_ISCHR(at.st_mode),
        allowed=os.access(path, os.R_OK | os.W_OK),
        group=group,
        holders=tuple(holders(real, proc)),
        better=_better(real, dev),
    )


def holders(real: str, proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """The processes, other than this one, that have a file open, and their names (proc(5), /proc/PID/fd)."""
    found = []
    for folder in proc.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            files = {os.readlink(fd) for fd in (folder / "fd").iterdir()}
            if real.startswith("/dev/pts/") and files & {"/dev/ptmx", "/dev/pts/ptmx"}:
                continue  # the far side of a pseudo-terminal: an emulated instrument
            if real in files:
                found.append((int(folder.name), (folder / "comm").read_text(encoding="utf-8").strip()))
        except OSError:  # it has ended, or is another user's
            continue
    return sorted(found)


def journaled(sensor: config.Sensor, evidence: Evidence, timezone: str = "UTC") -> Finding:
    """How an instrument is that the service reads, by the journal."""
    at, state = evidence.last_at.get(sensor.id), evidence.states.get(sensor.id, {})
    is_ill = bool(state) and state.get("state") != "alive" and (at is None or _later(state["at"], at))
    why = one_line(f"{state.get('state')}: {state.get('why', '')}".rstrip(": ")) if is_ill else ""
    age_s = None if at is None else evidence.age_s(at)
    late = age_s is None or age_s > max(STALE_CYCLES * sensor.every_s, STALE_S)
    if late and not is_ill and (warm := _warming(sensor, evidence, at)) is not None:
        text = said("warming up, until {time}", time=_clock(warm, timezone))
        return Finding("sensor", sensor.id, "ok", text)
    if late or is_ill:
        text = said("there is no reading of it")
        if at is not None:
            text = said("last reading {age}", age=_age(age_s))
        if why:
            text = said("{last}; the service says {why}", last=text, why=why)
        return Finding("sensor", sensor.id, "failure", text, _remedy(why))
    return Finding("sensor", sensor.id, "ok", said("the service reads it, last {age}", age=_age(age_s)))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _ask(wanted: config.Station, wire: config.Wire, link: Link) -> list[Finding]:
    """Read every instrument of a wire, one after another."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + WIRE_WITHIN_S
    found = []
    for sensor in wire.sensors:
        left_s = end_s - loop.time()
        if left_s < 1.0:
            text = said("not asked: the others on this wire took all the time")
            remedy = said("ask it alone: suuaba read STATION.toml {sensor}", sensor=sensor.id)
            found.append(Finding("sensor", sensor.id, "warning", text, remedy))
            continue
        found.append(await _read(wanted, sensor, link, min(left_s, READ_WITHIN_S)))
    return found


async def _read(wanted: config.Station, sensor: config.Sensor, link: Link, within_s: float) -> Finding:
    instrument = wanted.instrument(sensor)
    units = {quantity.name: quantity for quantity in wanted.quantities[sensor.id]}
    last: InstrumentError | None = None
    try:
        async with asyncio.timeout(within_s):
            for _ in range(TRIES):
                try:
                    measurement = await instrument.read(link)
                except NotReady as e:
                    text = said("answers; not ready yet: {why}", why=one_line(e))
                    if e.wait_s is not None and e.wait_s >= WARMING_S:
                        until_ms = Clock("trust").stamp().utc_ms + round(1000 * e.wait_s)
                        text = said("warming up, until {time}", time=_clock(until_ms, wanted.timezone))
                    return Finding("sensor", sensor.id, "ok", text)
                except InstrumentFault as e:
                    text = said("answers and says it is faulty: {why}", why=one_line(e))
                    remedy = said("clean or change it; see its manual")
                    return Finding("sensor", sensor.id, "failure", text, remedy)
                except InstrumentError as e:
                    last = e
                else:
                    shown = ", ".join(
                        f"{name} {value:.{units[name].digits}f} {units[name].unit}"
                        for name, value in list(measurement.values.items())[:SHOWN]
                    )
                    return Finding("sensor", sensor.id, "ok", said("answers: {values}", values=shown))
    except TimeoutError:
        if last is None:
            text = said("nothing usable within {within} s", within=f"{within_s:g}")
            return Finding("sensor", sensor.id, "failure", text, _remedy("no_answer"))
    text = said("no reading: {why}", why=f"{type(last).__name__}: {one_line(last)}")
    remedy = _remedy("no_answer" if isinstance(last, NoAnswer) else "garbled")
    return Finding("sensor", sensor.id, "failure", text, remedy)


def _remedy(why: str) -> Said:
    if "crosstalk" in why:
        return said("two instruments have one address: give each its own")
    if "unplugged" in why:
        return said("plug the adapter in again")
    if "no_answer" in why or "dead" in why or "no answer" in why or not why:
        return said(
            "check power, A and B (swapped?), address and baudrate; suuaba read STATION.toml SENSOR --frames"
        )
    return said("check termination, supply and the other instruments' addresses; read with --frames")


def _warming(sensor: config.Sensor, evidence: Evidence, at: Stamp | None) -> int | None:
    """Until when it warms up, in UTC; None when it does not, or should long be warm."""
    event = evidence.warming.get(sensor.id)
    if event is None or (at is not None and _later(at, event.at)):
        return None
    age_s, wait_s = evidence.age_s(event.at), float(event.detail.get("wait_s", 0.0))
    if age_s is None or age_s > wait_s + max(STALE_CYCLES * sensor.every_s, STALE_S):
        return None
    now_ms = evidence.now.utc_ms if evidence.now is not None else event.at.utc_ms
    return now_ms + round(1000 * max(wait_s - age_s, 0.0))


def _clock(utc_ms: int, timezone: str) -> str:
    """The time of day there."""
    try:
        zone: tzinfo = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    return datetime.fromtimestamp(utc_ms / 1000, zone).strftime("%H:%M")


def _not_opened(about: str, port: str, e: PortLost) -> Finding:
    text = one_line(e)
    if "://" in port:
        remedy = said("is the serial server on, and the address right? ping it")
    elif "in use" in text:
        remedy = said("find out who has it: sudo fuser -v {port}", port=port)
    else:
        remedy = said("unplug it and plug it in again; dmesg | tail says why")
    return Finding("port", about, "failure", said("cannot be opened: {why}", why=text), remedy)


def _ports(dev: Path) -> list[str]:
    named = sorted(str(link) for link in (dev / "serial" / "by-path").glob("*"))
    return (
        named[:8] or sorted(str(p) for kind in ("ttyUSB*", "ttyACM*", "ttyAMA*") for p in dev.glob(kind))[:8]
    )


def _better(real: str, dev: Path) -> str:
    for folder in ("by-path", "by-id"):
        for link in sorted((dev / "serial" / folder).glob("*")):
            if os.path.realpath(link) == real:
                return str(link)
    return ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _later(a: object, b: object) -> bool:
    mono = (getattr(a, "mono_ms", 0), getattr(b, "mono_ms", 0))
    same = getattr(a, "boot", None) == getattr(b, "boot", None)
    return mono[0] > mono[1] if same else getattr(a, "utc_ms", 0) > getattr(b, "utc_ms", 0)


def _age(age_s: float | None) -> Said:
    if age_s is None:
        return said("in an earlier boot")
    if age_s < 600:
        return said("{seconds} s ago", seconds=f"{age_s:.0f}")
    return said("{hours} h ago", hours=f"{age_s / 3600:.1f}")
