"""A station.toml while it is being checked: what is sound so far, and every mistake found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.base import Quantity
from drivers.catalogue import Model
from gateway.config_lines import Mistake
from gateway.config_parts import (
    Averaging,
    Bus,
    Clock,
    Contact,
    General,
    GrafanaLive,
    Influxdb,
    Journal,
    Mqtt,
    Rule,
    Sensor,
    Sms,
    Web,
)
from gateway.config_station import Wire as Wire


@dataclass(frozen=True, slots=True)
class Spot:
    """One part of the file, to say what is wrong with it."""

    draft: Draft
    section: str
    index: int | None = None

    def spoil(self, key: str, text: str) -> None:
        """A mistake for which the part cannot be used: it is taken out of the draft."""
        self.complain(key, text)
        if self.index is not None:
            self.draft.parts(self.section).pop(self.index, None)

    def complain(self, key: str, text: str) -> None:
        """A mistake with which the part can be used nevertheless, if it must."""
        self.draft.mistakes.append(Mistake(self.section, self.index, key, text))

    def warn(self, key: str, text: str) -> None:
        self.draft.warnings.append(Mistake(self.section, self.index, key, text))

    def drop(self, key: str, what: str) -> None:
        """No mistake of its own, but it stands on a part that has one."""
        self.draft.left_out.append(
            Mistake(self.section, self.index, key, f"{what} is left out, and so is this {self.section}")
        )
        if self.index is not None:
            self.draft.parts(self.section).pop(self.index, None)


@dataclass(slots=True)
class Draft:
    """The parts that are sound, by their place in the file, and what was found about them."""

    data: dict[str, Any]
    folders: tuple[Path, ...]
    general: General | None = None
    clock: Clock | None = None
    journal: Journal | None = None
    average: Averaging | None = None
    mqtt: Mqtt | None = None
    influxdb: Influxdb | None = None
    sms: Sms | None = None
    web: Web | None = None
    grafana_live: GrafanaLive | None = None
    buses: dict[int, Bus] = field(default_factory=dict)
    sensors: dict[int, Sensor] = field(default_factory=dict)
    contacts: dict[int, Contact] = field(default_factory=dict)
    rules: dict[int, Rule] = field(default_factory=dict)
    models: dict[int, Model] = field(default_factory=dict)
    quantities: dict[int, tuple[Quantity, ...]] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    left_out: list[Mistake] = field(default_factory=list)

    def parts(self, section: str) -> dict[int, Any]:
        parts: dict[str, dict[int, Any]] = {
            "bus": self.buses,
            "sensor": self.sensors,
            "contact": self.contacts,
            "rule": self.rules,
        }
        return parts[section]

    def at(self, section: str, index: int | None = None) -> Spot:
        return Spot(self, section, index)

    def declared(self, section: str) -> list[str]:
        """Every id of this section that stands in the file, sound or not."""
        items = self.data.get(section)
        if not isinstance(items, list):
            return []
        return [i["id"] for i in items if isinstance(i, dict) and isinstance(i.get("id"), str)]
