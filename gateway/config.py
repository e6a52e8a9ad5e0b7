"""station.toml, read and checked: one file, every mistake found in one go, each one line.

    station = load(Path("/etc/suuaba/station.toml"))

Strict (`check`, and everything a person starts): any mistake raises ConfigError. Lenient (`run`): what can
run, runs. A mistake then sets aside only the part it is in, and what stands on that part: a sensor, a rule,
a sink; a broken [journal] or [clock] falls back to its defaults. `Station.left_out` has the lines. Fatal in
both: no TOML, no [station] with an id, no sensor at all. Of two parts that clash (one port, one address, one
id) the later one is set aside.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from gateway.config_checks import check
from gateway.config_draft import Draft
from gateway.config_lines import KINDS, Mistake, from_pydantic, mean, toml_mistake
from gateway.config_parts import (
    ONCE,
    Averaging,
    Bus,
    Clock,
    Contact,
    Expect,
    General,
    GrafanaLive,
    Influxdb,
    Journal,
    Mqtt,
    Part,
    Rule,
    SecondModem,
    Send,
    Sensor,
    Sms,
    Tier,
    Web,
)
from gateway.config_station import Rate, Station, Wire
from gateway.config_station import systemd_socket as systemd_socket
from gateway.config_words import Place
from gateway.errors import ConfigError

__all__ = [
    "Bus", "Clock", "Contact", "Expect", "GrafanaLive", "Influxdb", "Journal", "Mqtt", "Rate", "Rule",
    "SecondModem", "Send", "Sensor", "Sms", "Station", "Tier", "Web", "Wire", "load",
]  # fmt: skip

FILE_LIMIT = 1_000_000
"""Bytes a station.toml may have; a hundred sensors with everything take 60 KB."""


def load(path: Path, *, lenient: bool = False, environment: Mapping[str, str] | None = None) -> Station:
    """Read and check a station.toml, and the secrets it names. Blocks for a few small files. Raises
    ConfigError.
    """
    file = path.name
    data = read_toml(path)
    folder = path.absolute().parent
    place = Place(folder, os.environ if environment is None else environment)
    own = folder / "profiles"
    draft = Draft(data, (own,) if own.is_dir() else ())
    fatal = _parts(draft, place)
    check(draft)
    if not data.get("sensor") or not isinstance(data["sensor"], list):
        fatal = True
    lines = [mistake.line(file, data) for mistake in _in_file_order(draft.mistakes, data)]
    if lines and (fatal or not lenient or draft.general is None):
        raise ConfigError(lines)
    general = cast(General, draft.general)  # without one there was a mistake, and it was raised
    return Station(
        file=path.absolute(),
        id=general.id,
        name=general.name or general.id,
        timezone=general.timezone,
        language=general.language,
        latitude=general.latitude,
        longitude=general.longitude,
        data=data_folder(general.data, folder, place.environment, "suuaba"),
        clock=draft.clock or Clock.model_validate({}),
        journal=draft.journal or Journal.model_validate({}),
        wires=tuple(wire for wire in _settled(draft) if wire.sensors),
        sensors=tuple(draft.sensors.values()),
        quantities={sensor.id: draft.quantities[i] for i, sensor in draft.sensors.items()},
        mqtt=draft.mqtt,
        influxdb=draft.influxdb,
        sms=draft.sms,
        web=draft.web,
        grafana_live=draft.grafana_live,
        contacts=tuple(draft.contacts.values()),
        rules=tuple(draft.rules.values()),
        profiles=draft.folders,
        warnings=tuple(place.warnings) + tuple(w.line(file, data) for w in draft.warnings),
        average=draft.average,
        left_out=tuple(lines) + tuple(x.line(file, data) for x in draft.left_out),
    )


def read_toml(path: Path, example: str = "deploy/station.example.toml") -> dict[str, Any]:
    """What a TOML file holds. Raises ConfigError: not there, not readable, no text, no TOML."""
    file = path.name
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file; copy {example} and adapt it"]) from None
    except OSError as e:
        raise ConfigError(
            [f"{path}: cannot be read: {e.strerror}; give this user the right to read it"]
        ) from None
    if len(content) > FILE_LIMIT:
        meant = Path(example).name.replace(".example", "")
        raise ConfigError([f"{file}: is larger than {FILE_LIMIT} bytes; this is no {meant}"])
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        row = content.count(b"\n", 0, e.start) + 1
        raise ConfigError([f"{file}: line {row} is not UTF-8 text; save the file as UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ConfigError([f"{file}: {toml_mistake(str(e), example)}"]) from None


def _parts(draft: Draft, place: Place) -> bool:
    """Read every part by itself into the draft. True if a mistake was fatal."""
    once: dict[str, Part] = {}
    for section, given in draft.data.items():
        if section not in KINDS:
            draft.mistakes.append(
                Mistake(section, None, "", f"there is no such section{mean(section, KINDS)}")
            )
        elif section in ONCE and not isinstance(given, dict):
            draft.mistakes.append(
                Mistake(section, None, "", f"stands once; write [{section}] with one pair of brackets")
            )
        elif section in ONCE:
            part = _part(draft, section, None, given, place)
            if part is not None:
                once[section] = part
        elif not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
            draft.mistakes.append(
                Mistake(
                    section,
                    None,
                    "",
                    f"can stand several times; write [[{section}]] with two pairs of brackets",
                )
            )
        else:
            for index, item in enumerate(given):
                part = _part(draft, section, index, item, place)
                if part is not None:
                    draft.parts(section)[index] = part
    if "station" not in draft.data:
        draft.mistakes.append(Mistake("station", None, "", 'is missing; add [station] with id = "…"'))
    draft.general = cast(General | None, once.get("station"))
    draft.clock = cast(Clock | None, once.get("clock"))
    draft.journal = cast(Journal | None, once.get("journal"))
    draft.average = cast(Averaging | None, once.get("average"))
    draft.mqtt = cast(Mqtt | None, once.get("mqtt"))
    draft.influxdb = cast(Influxdb | None, once.get("influxdb"))
    draft.sms = cast(Sms | None, once.get("sms"))
    draft.web = cast(Web | None, once.get("web"))
    draft.grafana_live = cast(GrafanaLive | None, once.get("grafana_live"))
    return draft.general is None


def _part(draft: Draft, section: str, index: int | None, given: dict[str, Any], place: Place) -> Part | None:
    try:
        return KINDS[section].model_validate(given, context=replace(place, section=section))
    except ValidationError as e:
        draft.mistakes.extend(from_pydantic(e, section, index, given))
        return None


def _settled(draft: Draft) -> list[Wire]:
    """The wires with their sensors as they stand after every check."""
    now = {sensor.id: sensor for sensor in draft.sensors.values()}
    return [
        replace(wire, sensors=tuple(now[s.id] for s in wire.sensors if s.id in now)) for wire in draft.wires
    ]


def _in_file_order(mistakes: list[Mistake], data: Mapping[str, Any]) -> list[Mistake]:
    order = {section: number for number, section in enumerate(data)}
    return sorted(mistakes, key=lambda m: (order.get(m.section, -1), -1 if m.index is None else m.index))


def data_folder(given: str | None, folder: Path, environment: Mapping[str, str], name: str) -> Path:
    """Where a program keeps what it must not lose: as its file says, as systemd says, or as is usual."""
    if given is not None:
        return folder / Path(given).expanduser()
    if environment.get("STATE_DIRECTORY"):  # set by systemd's StateDirectory=
        return Path(environment["STATE_DIRECTORY"].partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib") / name
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local/state") / name
