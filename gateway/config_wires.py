"""Which instruments hang on which port, and whether that works: places, models, addresses, formats, time."""

from __future__ import annotations

import os
from collections.abc import Iterator

from alerts.kinds import KINDS, usual
from drivers import catalogue
from drivers.catalogue import BadProfile, Model, UnknownModel
from drivers.link import Line
from gateway.config_draft import Draft, Spot, Wire
from gateway.config_lines import mean
from gateway.config_parts import Bus, LineKeys, Sensor
from gateway.config_words import shown, slip
from gateway.wire_time import cycle


def check_wires(draft: Draft) -> None:
    """Every check about ports and instruments; fills `draft.models`, `quantities` and `wires`."""
    for step in (_places, _models, _ports, _addresses, _lines, _speed):
        step(draft)


def _places(draft: Draft) -> None:
    """Every sensor is on a bus, or alone on a port."""
    declared = draft.declared("bus")
    for index, sensor in list(draft.sensors.items()):
        at, bus = draft.at("sensor", index), sensor.bus
        if bus is None and sensor.port is None:
            at.spoil(
                "bus", 'is missing, and so is port; add bus = "…" or, alone on its wire, port = "/dev/…"'
            )
        elif bus is not None and sensor.port is not None:
            at.spoil(
                "port", "stands beside bus; a sensor is on a bus or alone on a port: take one of them out"
            )
        elif bus is not None and bus not in declared:
            at.spoil("bus", f"there is no bus {shown(bus)}{mean(bus, declared)}")
    _drop_without_bus(draft)


def _drop_without_bus(draft: Draft) -> None:
    sound = {bus.id for bus in draft.buses.values()}
    for index, sensor in list(draft.sensors.items()):
        if sensor.bus is not None and sensor.bus not in sound:
            draft.at("sensor", index).drop("bus", f"bus {shown(sensor.bus)}")


def _models(draft: Draft) -> None:
    for index, sensor in list(draft.sensors.items()):
        at = draft.at("sensor", index)
        try:
            model = catalogue.find(sensor.model, draft.folders)
        except UnknownModel as e:
            hint = mean(sensor.model, catalogue.names(draft.folders))
            at.spoil("model", f"there is no model {shown(e.model)}{hint}")
            continue
        except BadProfile as e:
            for line in e.lines:
                at.spoil("model", f"its profile cannot be used: {line}")
            continue
        address = sensor.address
        if model.shares_bus and address is not None and not 1 <= address <= 247:
            at.spoil("address", slip(address, 1, 247))
            continue
        try:
            instrument = model.make(address, sensor.options)
        except (ValueError, TypeError) as e:  # TypeError: a list where a driver looks a word up
            blames_address = address is not None and "address" in str(e)
            at.spoil("address" if blames_address else "options", str(e))
            continue
        medium = sensor.medium or model.medium
        if medium is None:
            at.spoil("medium", "is missing; allowed are water, air, soil, power, station")
            continue
        if sensor.kind is not None and sensor.kind not in KINDS.get(medium, ()):
            kinds = ", ".join(f'"{kind}"' for kind in KINDS.get(medium, ())) or "none: take it out"
            at.spoil("kind", f"{shown(sensor.kind)} is no kind of {medium}; allowed are {kinds}")
            continue
        kind = sensor.kind or usual(medium) or None
        draft.sensors[index] = sensor.model_copy(update={"medium": medium, "kind": kind})
        draft.models[index] = model
        draft.quantities[index] = tuple(instrument.quantities)


def _ports(draft: Draft) -> None:
    """One port, one owner; and does the port exist?"""
    sites = [(draft.at("bus", i), "port", b.port, f'bus "{b.id}"') for i, b in draft.buses.items()]
    sites += [
        (draft.at("sensor", i), "port", s.port, f'sensor "{s.id}"')
        for i, s in draft.sensors.items()
        if s.port
    ]
    if draft.sms and draft.sms.modem:
        sites.append((draft.at("sms"), "modem", draft.sms.modem, "the modem"))
    if draft.sms and draft.sms.second:
        sites.append((draft.at("sms"), "second.modem", draft.sms.second.modem, "the second modem"))
    owners: dict[str, str] = {}
    for at, key, port, owner in sites:
        real = os.path.realpath(port) if port.startswith("/") else port.rstrip("/").lower()
        first = owners.setdefault(real, owner)
        if first is owner:
            _look_at(at, key, port)
            continue
        remedy = "put both on one [[bus]]" if at.section == "sensor" else "give it a port of its own"
        at.spoil(key, f"{shown(port)} belongs to {first} already; {remedy}")
        if at.section == "sms" and draft.sms:
            draft.sms = draft.sms.model_copy(update={"modem" if key == "modem" else "second": None})
    _drop_without_bus(draft)


def _look_at(at: Spot, key: str, port: str) -> None:
    if not port.startswith("/"):
        return
    if not os.path.exists(port):
        at.warn(key, f"{port} is not there now; plug it in, or compare with: ls /dev/serial/by-path")
    elif not os.access(port, os.R_OK | os.W_OK):
        at.warn(key, f'this user may not use {port}; sudo adduser "$USER" dialout, then log in again')
    if port.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
        at.warn(key, f"{port} may be another adapter after a restart; use its name in /dev/serial/by-path")


def _members(draft: Draft, bus: Bus) -> Iterator[tuple[int, Sensor, Model]]:
    for index, sensor in list(draft.sensors.items()):
        if sensor.bus == bus.id and index in draft.models:
            yield index, sensor, draft.models[index]


def _addresses(draft: Draft) -> None:
    for bus in draft.buses.values():
        members = list(_members(draft, bus))
        taken: dict[int, str] = {}
        for index, sensor, model in members:
            at = draft.at("sensor", index)
            if not model.shares_bus:
                if len(members) > 1:
                    text = f"a {model.name} cannot share a wire; give it its own"
                    at.spoil("bus", f'{text}: port = "/dev/…" in place of bus')
                continue
            address = model.address if sensor.address is None else sensor.address
            if address is None:
                at.spoil("address", "is missing; add the address the instrument is set to, 1…247")
                continue
            other = taken.setdefault(address, sensor.id)
            if other != sensor.id:
                given = "" if sensor.address is not None else " (the factory's, as none is written)"
                text = f'{address}{given} is the address of "{other}" on bus "{bus.id}" already'
                at.spoil("address", f"{text}; set each instrument to an address of its own")


def _lines(draft: Draft) -> None:
    """Every wire has one rate and one format."""
    for number, bus in draft.buses.items():
        at = draft.at("bus", number)
        members = list(_members(draft, bus))
        factory = list(dict.fromkeys(model.line for _, _, model in members)) or [Line()]
        line = _line(bus, factory[0])
        if not bus.port.startswith("tcp://"):
            if len(factory) > 1 and (bus.baudrate is None or bus.format is None):
                kinds = ", ".join(f"{s.id} {m.line.baudrate} {m.line.format}" for _, s, m in members)
                text = f"one wire has one format, its instruments leave the factory with others ({kinds})"
                at.complain("format", f"{text}; set them alike, then add baudrate and format")
            else:
                for index, sensor, model in members:
                    _fits(draft.at("sensor", index), sensor, model, bus, line)
        sensors = tuple(sensor for _, sensor, _ in _members(draft, bus))
        draft.wires.append(Wire(bus.id, bus.port, line, _framing(bus, bus.port), bus.echo, sensors))
        items = draft.data.get("sensor", [])
        if not members and bus.id not in [s.get("bus") for s in items if isinstance(s, dict)]:
            at.warn("", f'has no sensor; add [[sensor]] with bus = "{bus.id}", or take the bus out')
    for index, sensor in draft.sensors.items():
        if sensor.port is not None:
            line = _line(sensor, draft.models[index].line)
            framing = _framing(sensor, sensor.port)
            draft.wires.append(Wire(sensor.id, sensor.port, line, framing, sensor.echo, (sensor,)))


def _line(keys: LineKeys, otherwise: Line) -> Line:
    return Line(keys.baudrate or otherwise.baudrate, keys.format or otherwise.format)


def _framing(keys: LineKeys, port: str) -> str:
    return keys.framing or ("tcp" if port.startswith("tcp://") else "rtu")


def _fits(at: Spot, sensor: Sensor, model: Model, bus: Bus, line: Line) -> None:
    """A sensor's format must be its bus's; where its label says otherwise, it should be looked at."""
    wire = f"{line.baudrate} {line.format}"
    asked = _line(sensor, line)
    if asked != line:
        key = "format" if asked.format != line.format else "baudrate"
        text = (
            f'{asked.baudrate} {asked.format} differs from bus "{bus.id}" ({wire}); one wire has one format'
        )
        at.spoil(key, f"{text}: set the instrument to {wire}")
    elif model.line != line and sensor.baudrate is None and sensor.format is None:
        factory = f"{model.line.baudrate} {model.line.format}"
        text = f'a {model.name} leaves the factory with {factory}, bus "{bus.id}" has {wire}'
        at.warn("format", f'{text}; set the instrument to {wire}, then add format = "{line.format}" here')


def _speed(draft: Draft) -> None:
    """What is asked of a wire must fit into its time. While running, what is too much is skipped."""
    places = {sensor.id: index for index, sensor in draft.sensors.items()}
    for wire in draft.wires:
        if wire.port.startswith("tcp://"):
            continue
        share = 0.0
        for sensor in wire.sensors:
            index = places[sensor.id]
            cost = cycle(draft.models[index], wire.line, wire.framing)
            if cost is None:
                continue
            least_s = cost.wire_s + cost.waits_s
            if least_s <= sensor.every_s:
                share += cost.wire_s / sensor.every_s
                continue
            rate = wire.line.baudrate
            text = f"{sensor.every_s:g} s is too short; at {rate} baud a reading takes {least_s:.2f} s"
            draft.at("sensor", index).complain("every", f"{text}: read it less often, or raise the baudrate")
        bus = next((i for i, b in draft.buses.items() if b.id == wire.id), None)
        if share > 1 and bus is not None:
            text = f"its sensors ask for {share:.0%} of the wire's time; 100 % is there"
            draft.at("bus", bus).complain("", f"{text}: read them less often, or raise the baudrate")
