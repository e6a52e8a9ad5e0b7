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
from pathlib import Path

from drivers.base import InstrumentError, InstrumentFault, NoAnswer, NotReady, PortLost
from drivers.link import Link
from gateway import config
from gateway.doctor_finding import Finding, in_thread, one_line
from gateway.doctor_journal import Evidence

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
        return [*found, *(journaled(sensor, evidence) for sensor in wire.sensors)]
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
        return [Finding("port", about, "ok", f"{port}: over the network")]
    try:
        seen = await in_thread(lambda: look(port), LOOK_WITHIN_S)
    except TimeoutError:
        return [
            Finding(
                "port", about, "failure", f"{port} does not answer a look", "unplug it and plug it in again"
            )
        ]
    return judge(seen, about, evidence.pid)


def judge(port: Port, about: str, service: int | None) -> list[Finding]:
    """What a port's looks mean. Pure."""
    if not port.exists:
        what = "leads nowhere: nothing is plugged in there" if port.dangling else "is not there"
        known = f"; there are: {', '.join(port.others)}" if port.others else "; no serial port is plugged in"
        return [
            Finding("port", about, "failure", f"{port.path} {what}", f"plug it in, or correct port{known}")
        ]
    if not port.is_device:
        return [
            Finding(
                "port", about, "failure", f"{port.path} is no serial port", "correct port in station.toml"
            )
        ]
    found = []
    strangers = [f"{name} (process {pid})" for pid, name in port.holders if pid != service]
    if strangers:
        modems = any("odem" in name for name in strangers)
        remedy = (
            "sudo systemctl disable --now ModemManager"
            if modems
            else "end that program, or give it another port"
        )
        found.append(
            Finding("port", about, "failure", f"{port.path} is held by {', '.join(strangers)}", remedy)
        )
    elif any(pid == service for pid, _ in port.holders):
        found.append(Finding("port", about, "ok", f"the service has it: {port.path}"))
    elif not port.allowed:
        group = port.group or "dialout"
        remedy = f"sudo usermod -aG {group} {_user()}, then log in again"
        if service is not None:
            remedy = f"the service may have it all the same; to look closer: sudo suuaba doctor ({remedy})"
        text = f"{port.path}: this user may not use it (group {group})"
        found.append(Finding("port", about, "warning" if service else "failure", text, remedy))
    else:
        found.append(Finding("port", about, "ok", f"{port.path} is there and free"))
    if re.search(r"/tty(USB|ACM)\d+$", port.path):
        remedy = f'write port = "{port.better}"' if port.better else "name it by /dev/serial/by-path or by-id"
        text = f"{port.path} may have another number after the next start"
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


def journaled(sensor: config.Sensor, evidence: Evidence) -> Finding:
    """How an instrument is that the service reads, by the journal."""
    at, state = evidence.last_at.get(sensor.id), evidence.states.get(sensor.id, {})
    is_ill = bool(state) and state.get("state") != "alive" and (at is None or _later(state["at"], at))
    why = one_line(f"{state.get('state')}: {state.get('why', '')}".rstrip(": ")) if is_ill else ""
    age_s = None if at is None else evidence.age_s(at)
    late = age_s is None or age_s > max(STALE_CYCLES * sensor.every_s, STALE_S)
    if late or is_ill:
        last = "there is no reading of it" if at is None else f"last reading {_age(age_s)}"
        text = f"{last}; the service says {why}" if why else last
        return Finding("sensor", sensor.id, "failure", text, _remedy(why))
    return Finding("sensor", sensor.id, "ok", f"the service reads it, last {_age(age_s)}")


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _ask(wanted: config.Station, wire: config.Wire, link: Link) -> list[Finding]:
    """Read every instrument of a wire, one after another."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + WIRE_WITHIN_S
    found = []
    for sensor in wire.sensors:
        left_s = end_s - loop.time()
        if left_s < 1.0:
            text = "not asked: the others on this wire took all the time"
            found.append(
                Finding("sensor", sensor.id, "warning", text, f"suuaba read STATION.toml {sensor.id}")
            )
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
                    return Finding("sensor", sensor.id, "ok", f"answers; not ready yet: {one_line(e)}")
                except InstrumentFault as e:
                    text = f"answers and says it is faulty: {one_line(e)}"
                    return Finding("sensor", sensor.id, "failure", text, "clean or change it; see its manual")
                except InstrumentError as e:
                    last = e
                else:
                    shown = ", ".join(
                        f"{name} {value:.{units[name].digits}f} {units[name].unit}"
                        for name, value in list(measurement.values.items())[:SHOWN]
                    )
                    return Finding("sensor", sensor.id, "ok", f"answers: {shown}")
    except TimeoutError:
        if last is None:
            text = f"nothing usable within {within_s:g} s"
            return Finding("sensor", sensor.id, "failure", text, _remedy("no_answer"))
    text = f"{type(last).__name__}: {one_line(last)}"
    return Finding(
        "sensor", sensor.id, "failure", text, _remedy("" if not isinstance(last, NoAnswer) else "no_answer")
    )


def _remedy(why: str) -> str:
    if "crosstalk" in why:
        return "two instruments have one address: give each its own"
    if "unplugged" in why:
        return "plug the adapter in again"
    if "no_answer" in why or "dead" in why or "no answer" in why or not why:
        return (
            "check power, A and B (swapped?), address and baudrate; suuaba read STATION.toml SENSOR --frames"
        )
    return "check termination, supply and the other instruments' addresses; read with --frames"


def _not_opened(about: str, port: str, e: PortLost) -> Finding:
    text = one_line(e)
    if "://" in port:
        return Finding(
            "port", about, "failure", text, "is the serial server on, and the address right? ping it"
        )
    if "in use" in text:
        return Finding("port", about, "failure", text, f"find out who has it: sudo fuser -v {port}")
    return Finding("port", about, "failure", text, "unplug it and plug it in again; dmesg | tail says why")


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


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "in an earlier boot"
    return f"{age_s:.0f} s ago" if age_s < 600 else f"{age_s / 3600:.1f} h ago"
