"""Home Assistant's MQTT discovery: one retained message for each quantity of each sensor.

    homeassistant/sensor/kyia-1/ph1_ph/config
    {"name":"ph1 ph","unique_id":"suuaba_kyia-1_ph1_ph","state_topic":"suuaba/1/kyia-1/reading/ph1", …}

It points at the reading messages that are there anyway. A value with flag 4 (fail) or without a number is
shown as unknown. A quantity that went away is taken back by an empty retained message, as Home Assistant
asks; so what was published is kept in `homeassistant.json` in the data folder.

Sources: Home Assistant documentation, "MQTT", sections "MQTT Discovery" and "Discovery topic"; "MQTT Sensor";
"Sensor entity", the table of device classes and their units.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.mqtt_messages import level

if TYPE_CHECKING:
    from gateway import config

log = logging.getLogger(__name__)

PREFIX = "homeassistant"
"""Home Assistant's own default."""
SILENT_READINGS, SILENT_LEAST_S = 5, 120
"""Unavailable after so many readings did not come, and after two minutes at the least."""
FILE = "homeassistant.json"
FILE_LIMIT = 1_000_000

# What we measure: Home Assistant's device class. Others are shown with their unit alone.
CLASSES = {
    "ph": "ph", "orp": "voltage", "conductivity": "conductivity", "water_temperature": "temperature",
    "air_temperature": "temperature", "cpu_temperature": "temperature", "pm1": "pm1", "pm2_5": "pm25",
    "pm10": "pm10", "humidity": "humidity", "pressure": "atmospheric_pressure", "wind_speed": "wind_speed",
    "rain": "precipitation", "voltage": "voltage", "current": "current", "power": "power",
    "charge": "battery", "signal": "signal_strength", "level": "distance",
}  # fmt: skip
UNITS = {"ug/m3": "µg/m³", "degC": "°C", "deg": "°", "uS/cm": "µS/cm", "1/cm3": "1/cm³", "mS/cm": "mS/cm"}
TAKEN: dict[str, set[str | None]] = {
    "ph": {None}, "voltage": {"V", "mV"}, "conductivity": {"µS/cm", "mS/cm", "S/cm"}, "temperature": {"°C"},
    "pm1": {"µg/m³"}, "pm25": {"µg/m³"}, "pm10": {"µg/m³"}, "humidity": {"%"}, "battery": {"%"},
    "atmospheric_pressure": {"hPa", "kPa", "mbar", "Pa", "bar"}, "wind_speed": {"m/s", "km/h"},
    "precipitation": {"mm", "cm"}, "current": {"A", "mA"}, "power": {"W", "kW"},
    "signal_strength": {"dBm", "dB"}, "distance": {"m", "cm", "mm", "km"},
}  # fmt: skip
"""Units that Home Assistant takes with a device class; with another it refuses the entity."""


def configs(wanted: config.Station, version: str) -> dict[str, bytes]:
    """Topic and payload of every quantity's discovery message."""
    station, root = wanted.id, f"suuaba/1/{level(wanted.id)}"
    device = {
        "identifiers": [f"suuaba_{station}"], "name": wanted.name, "manufacturer": "Suu-Aba",
        "model": "gateway", "sw_version": version,
    }  # fmt: skip
    made: dict[str, bytes] = {}
    for sensor in wanted.sensors:
        for quantity in wanted.quantities.get(sensor.id, ()):
            name = f"{sensor.id}_{quantity.name}"
            unit: str | None = UNITS.get(quantity.unit, quantity.unit) or None
            kind = CLASSES.get(quantity.name)
            if kind == "ph":
                unit = None  # Home Assistant knows pH without a unit only
            said: dict[str, Any] = {
                "name": f"{sensor.id} {quantity.name.replace('_', ' ')}",
                "unique_id": f"suuaba_{station}_{name}",
                "state_topic": f"{root}/reading/{level(sensor.id)}",
                "value_template": (
                    f"{{% set v = value_json['values'].get('{_quoted(quantity.name)}') %}}"
                    "{{ v.value if v and v.flag < 4 else None }}"
                ),
                "state_class": "measurement",
                "suggested_display_precision": quantity.digits,
                "expire_after": max(SILENT_LEAST_S, round(SILENT_READINGS * sensor.every_s)),
                "availability_topic": f"{root}/status",
                "availability_template": "{{ value_json.state }}",
                "payload_available": "online",
                "payload_not_available": "offline",
                "qos": 1,
                "device": device,
                "origin": {"name": "suuaba", "sw_version": version},
            }
            if unit:
                said["unit_of_measurement"] = unit
            if kind is not None and unit in TAKEN[kind]:
                said["device_class"] = kind
            made[f"{PREFIX}/sensor/{_plain(station)}/{_plain(name)}/config"] = msgspec.json.encode(said)
    return made


class Discovery:
    """What to publish after each connection, and what to take back. `messages` reads, `published` writes a
    small file.
    """

    def __init__(self, configs: Mapping[str, bytes], data: Path) -> None:
        self._configs, self._file = configs, data / FILE

    def messages(self) -> Iterable[tuple[int, str, bytes, bool]]:
        """As `MqttLink.send` takes them: everything there is, and nothing for what is there no more."""
        gone = sorted(self._before() - set(self._configs))
        for topic in gone:
            yield 0, topic, b"", True
        for topic, payload in self._configs.items():
            yield 0, topic, payload, True

    def published(self) -> None:
        """The broker has it all."""
        if self._before() == set(self._configs):
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(msgspec.json.encode(sorted(self._configs)))
        except OSError as e:
            log.warning("%s: %s; what goes away will stay in Home Assistant", self._file, e.strerror)

    def _before(self) -> set[str]:
        try:
            with self._file.open("rb") as stream:
                found = msgspec.json.decode(stream.read(FILE_LIMIT), type=list[str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return set()
        ours = (topic for topic in found if topic.startswith(f"{PREFIX}/sensor/"))
        return {topic for topic in ours if not set("+#\0") & set(topic)}


def _plain(text: str) -> str:
    """Letters, digits, _ and -: what a discovery topic may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
