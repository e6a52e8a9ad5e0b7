"""From station.toml to what the calibration fold needs, and the formulas of [sensor.correct] as versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.calibration import Version
from gateway.calibration_fold import CalibrationFold, Wants
from gateway.config_formulas import FORMULAS
from gateway.model import Event, Stamp

if TYPE_CHECKING:
    from gateway import config

BY_FILE = "station.toml"


def wants(station: config.Station) -> tuple[dict[str, Wants], list[str]]:
    """What is wanted of each sensor's calibrations, and the sensors that formulas look at."""
    found = {}
    for sensor in station.sensors:
        c = sensor.calibration
        found[sensor.id] = Wants(None if c.every_s is None else int(c.every_s * 1000), c.accept)
    beside = {c.beside.partition(".")[0] for s in station.sensors for c in s.correct.values()}
    return found, sorted(beside)


def configured(station: config.Station, fold: CalibrationFold, at: Stamp) -> Sequence[Event]:
    """What [sensor.correct] says and the ledger does not have yet, as new versions; and the end of those that
    it no longer says. A change of the file is a change of the data: it is in the ledger.
    """
    events = []
    for sensor in station.sensors:
        known = fold.known(sensor.id)
        number = known.number
        latest = {v.quantity: v for v in known.versions if v.kind != "drift" and v.to_ms is None}
        for quantity, asked in sensor.correct.items():
            kind = FORMULAS[asked.formula][0]
            basis = f"co-located: {asked.colocated}" if asked.colocated else ""
            now = latest.get(quantity)
            if now and (now.formula, now.beside, now.basis) == (asked.formula, asked.beside, basis):
                continue
            number += 1
            version = Version(
                number, sensor.id, quantity, kind, at.utc_ms, formula=asked.formula, beside=asked.beside,
                basis=basis, by=BY_FILE,
            )  # fmt: skip
            events.append(correction(version, at))
        for quantity, now in latest.items():
            if now.formula and quantity not in sensor.correct:
                number += 1
                version = Version(number, sensor.id, quantity, "none", at.utc_ms, by=BY_FILE)
                events.append(correction(version, at))
    return events


def correction(version: Version, at: Stamp) -> Event:
    """A version as the journal has it."""
    return Event(at, "correction", msgspec.to_builtins(version))
