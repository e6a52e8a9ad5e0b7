"""A station as its station.toml describes it: what the parts of the gateway are given.

Needs no pydantic, which costs 13 MB and is wanted only while the file is read (gateway.config_apart).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers import catalogue
from drivers.base import Instrument, Quantity
from drivers.link import Line

if TYPE_CHECKING:
    from gateway.config_parts import (
        Averaging,
        Clock,
        Contact,
        GrafanaLive,
        Influxdb,
        Journal,
        Mqtt,
        Rule,
        Sensor,
        Sms,
        Web,
    )


class Rate(NamedTuple):
    """So much in so many seconds."""

    amount: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Wire:
    """One port and the instruments on it: a [[bus]], or a [[sensor]] alone."""

    id: str
    port: str
    line: Line
    framing: str
    echo: bool
    sensors: tuple[Sensor, ...]


@dataclass(frozen=True, slots=True)
class Station:
    """A station as its file describes it. Paths are absolute, durations seconds, sizes bytes; secrets are
    read.
    """

    file: Path
    id: str
    name: str
    timezone: str
    language: str
    latitude: float | None
    longitude: float | None
    data: Path
    """The folder of journal, keys and ledger. It need not exist yet."""
    clock: Clock
    journal: Journal
    wires: tuple[Wire, ...]
    """Every port that is read: the buses, and the sensors alone on a port."""
    sensors: tuple[Sensor, ...]
    quantities: Mapping[str, tuple[Quantity, ...]]
    """What each sensor measures, by its id."""
    mqtt: Mqtt | None
    influxdb: Influxdb | None
    sms: Sms | None
    web: Web | None
    contacts: tuple[Contact, ...]
    rules: tuple[Rule, ...]
    profiles: tuple[Path, ...]
    """Folders with the station's own profiles."""
    average: Averaging | None = None
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """One line for every mistake that a lenient reading passed over, and for what fell with it."""

    grafana_live: GrafanaLive | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The profiles of the models that have one, where they were read already (gateway.config_apart)."""

    def instrument(self, sensor: Sensor) -> Instrument:
        """Make the object that reads this sensor."""
        if sensor.model in self.facts:
            from drivers.modbus_instrument import ModbusInstrument

            return ModbusInstrument(self.facts[sensor.model], sensor.address, sensor.options)
        return catalogue.find(sensor.model, self.profiles).make(sensor.address, sensor.options)


def systemd_socket() -> str | None:
    """Where systemd wants to be told how we are (sd_notify(3)); None when it did not start us."""
    return os.environ.get("NOTIFY_SOCKET")
