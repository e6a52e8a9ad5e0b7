"""`suuaba init`: from a scan to a commented station.toml that `suuaba check` passes.

    text = compose(report, Answers("kanysh-kyia-1", "Kanysh-Kyia", "ru"), listen="127.0.0.1:8080")

`compose` is pure. Nothing is ever overwritten. What the scan could not say (two models that look alike, two
probes on one address) stands as a comment where the technician will look.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers import catalogue
from drivers.catalogue import UnknownModel
from gateway.doctor_finding import one_line
from gateway.errors import ConfigError
from gateway.scan_result import Found, PortReport, Report
from gateway.scan_words import TEXTS, told

Say = Callable[[str], object]
Ask = Callable[[str], str]

IDS = (
    ("ph", "ph"), ("turbidity", "turb"), ("conductivity", "cond"), ("pm2_5", "dust"), ("orp", "orp"),
    ("dissolved_oxygen", "oxygen"), ("pv_voltage", "solar"), ("humidity", "climate"),
)  # fmt: skip
"""What a sensor is called, by the first of these that it measures."""
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "atlas": {"ph": (0, 14)},
    "plantower": {"pm2_5": (0, 1000), "pm10": (0, 1000)},
    "sds011": {"pm2_5": (0, 999.9), "pm10": (0, 999.9)},
    "sps30": {"pm2_5": (0, 1000), "pm10": (0, 1000)},
}
"""Measuring ranges of the drivers in code, from the data sheets that they name; profiles have their own."""
USUAL = {
    "ph": "usual = [6, 9]                   # narrower than gross: what is usual in this water; adapt it"
}
FIRST_PORT, PORTS = 8080, 20


@dataclass(frozen=True, slots=True)
class Answers:
    """What no scan can know."""

    id: str
    name: str
    language: str = "en"


def compose(report: Report, answers: Answers, *, listen: str = "127.0.0.1:8080") -> str:
    """The text of a station.toml."""
    ids: Counter[str] = Counter()
    parts = [_head(answers)]
    for number, port in enumerate(report.ports, 1):
        parts += _port(port, f"bus{number}", ids, answers.language)
    parts.append(_tail(report, listen))
    return "\n\n".join(parts) + "\n"


def answers(station_id: str, name: str, language: str, ask: Ask | None) -> Answers:
    """What was given, and for the rest the technician's answers; without a terminal what can be assumed.

    Raises ConfigError for an id or a language that cannot be.
    """
    station_id = station_id or (ask("Station id (letters, digits, -): ").strip() if ask else "")
    station_id = station_id or "station-1"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", station_id):
        raise ConfigError([f"--id: {station_id!r}: letters, digits and - only; it is part of every topic"])
    name = name or (ask(f"Name [{station_id}]: ").strip() if ask else "") or station_id
    language = language or (ask("Language, ky, ru or en [en]: ").strip() if ask else "") or "en"
    if language not in TEXTS:
        raise ConfigError([f"--language: there is no {language!r}; there are {', '.join(TEXTS)}"])
    return Answers(station_id, one_line(name, 200), language)


def init(file: Path, report: Report, wanted: Answers, say: Say) -> int:
    """Write the file. Raises ConfigError where there is one already, or nothing was found."""
    if not report.instruments:
        raise ConfigError(["init: the scan found no instrument; suuaba scan says why"])
    text = compose(report, wanted, listen=f"127.0.0.1:{_free_port()}")
    if str(file) == "-":
        say(text.rstrip())
        return 0
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError([f"{file}: is there already; nothing is overwritten: --output ANOTHER"]) from None
    except OSError as e:
        raise ConfigError([f"{file}: {e.strerror or e}"]) from e
    say(f"{file}: {len(report.instruments)} instruments; look at it, then: suuaba check {file}")
    return 0


def asks() -> Ask | None:
    """How to ask the technician; None where nobody sits at a terminal."""
    return input if sys.stdin.isatty() and sys.stdout.isatty() else None


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _head(wanted: Answers) -> str:
    return f"""\
# Written by suuaba init from a scan. Look it over, adapt it, then: suuaba check FILE; suuaba run FILE.
# deploy/station.example.toml shows every key.

[station]
id = {_text(wanted.id)}             # part of every topic and tag: never change it later
name = {_text(wanted.name)}
timezone = "Asia/Bishkek"
language = {_text(wanted.language)}
# latitude = 41.7
# longitude = 71.6

[clock]
source = "ntp"                   # no network here? "rtc" or "modem"; see deploy/station.example.toml"""


def _port(port: PortReport, bus: str, ids: Counter[str], language: str) -> Iterator[str]:
    known = [found for found in port.instruments if found.model]
    lines = []
    for problem in port.problems:
        what, helps = told(problem, language)
        lines += [f"# {one_line(port.port)}: {one_line(what)}", f"#   {one_line(helps)}"]
    for found in port.instruments:
        if not found.model:
            lines.append(f"# {found.port}: speaks, but no driver knows it: {one_line(found.identity)}")
    if lines:
        yield "\n".join(lines)
    shared = [found for found in known if found.shares_bus]
    if shared:
        yield _bus(shared[0], bus)
    for found in known:
        yield _sensor(found, bus if found.shares_bus else "", ids)


def _bus(found: Found, bus: str) -> str:
    lines = ["[[bus]]", f"id = {_text(bus)}", f"port = {_text(found.port)}"]
    if "://" not in found.port:
        lines += [f"baudrate = {found.baudrate}", f"format = {_text(found.format)}"]
    if found.echo:
        lines.append("echo = true                      # this adapter hears itself")
    return "\n".join(lines)


def _sensor(found: Found, bus: str, ids: Counter[str]) -> str:
    try:
        quantities = [q.name for q in catalogue.find(found.model).quantities]
    except UnknownModel:  # a scan of another version
        return f"# {found.model} on {one_line(found.port)}: this version does not know it"
    kind = next((word for name, word in IDS if name in quantities), "sensor")
    ids[kind] += 1
    about = one_line(f"{found.title}; {found.identity.get('serial', '')}".strip("; "), 90)
    lines = [f"[[sensor]]                       # {about}", f'id = "{kind}{ids[kind]}"']
    if bus:
        lines.append(f"bus = {_text(bus)}")
    else:
        lines.append(f"port = {_text(found.port)}")
    others = f"      # or {', '.join(found.others)}: look at the label" if found.others else ""
    lines.append(f"model = {_text(found.model)}{others}")
    if found.address is not None:
        lines.append(f"address = {found.address}")
    if found.medium:
        lines.append(f"medium = {_text(found.medium)}")
    lines.append('every = "10 s"')
    for name, (low, high) in _ranges(found.model).items():
        lines += [f"[sensor.expect.{name}]", f"gross = [{low:g}, {high:g}]"]
        if name in USUAL:
            lines.append(f"# {USUAL[name]}")
    return "\n".join(lines)


def _ranges(model: str) -> dict[str, tuple[float, float]]:
    """The measuring range of what the instrument is there for."""
    if model in RANGES:
        return dict(RANGES[model])
    from drivers import profile

    file = catalogue.find(model).file
    if file.suffix != ".toml":
        return {}
    main = {name for name, _ in IDS} | {"pm10"}
    return {
        r.quantity: (r.valid[0], r.valid[1])
        for r in profile.load(file).registers
        if r.valid and r.quantity in main
    }


def _tail(report: Report, listen: str) -> str:
    modems = [port.port for port in report.ports if port.state == "modem"]
    modem = modems[0] if modems else "/dev/serial/by-id/…"
    return f"""\
[mqtt]
url = "embedded"                 # only for looking, it keeps nothing: mosquitto_sub -t 'suuaba/#' -v
# url = "mqtts://mqtt.example.kg:8883"

[web]
listen = {_text(listen)}         # "0.0.0.0:8080" to be seen from other machines

# [sms]                          # alarms by SMS
# modem = {_text(modem)}
# [[contact]]
# id = "duty"
# phone = "+996555000001\""""


def _text(text: str) -> str:
    """A TOML string; JSON's is one."""
    return json.dumps(text, ensure_ascii=False)


def _free_port() -> int:
    """The first port for the page that nobody has."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return FIRST_PORT
