"""What the quality tests remember, through a restart of the process: a fold of the journal.

The tests judge a value before it is journaled (gateway.bus), so this fold only keeps what they remember, with
each block; and when the journal is replayed after a kill, it shows the tests the readings since then once
more. So the flags are those of a station that was never killed. Nothing outlives the boot: its steady clock,
which all intervals are of, ends with it.

After a calibration, at the end of a maintenance and when another instrument answers the tests of a sensor
begin anew: the step from the bottle to the river is no change of the river.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import msgspec

from gateway.model import Average, Body, Event, Record, Stamp
from gateway.qc import Checks, Kept

log = logging.getLogger(__name__)


class QualityMemory:
    """See gateway.journal.Fold. Derives nothing."""

    name = "quality"

    def __init__(self, checks: Mapping[str, Checks]) -> None:
        self._checks = {sensor: tests for sensor, tests in checks.items() if tests.remember}

    def step(self, record: Record) -> Sequence[Body]:
        """See a reading that the tests have seen; in a replay they have not."""
        body = record.body
        if isinstance(body, Event):
            for sensor in begin_anew(body, self._checks):
                self._checks[sensor].forget()
        elif not isinstance(body, Average):
            tests = self._checks.get(body.sensor)
            if tests is not None and tests.seen is not body.at and tests.seen != body.at:
                for quantity, value in body.values.items():
                    tests.flag(quantity, value.value, body.at)
        return ()

    def tick(self, at: Stamp) -> Sequence[Body]:
        """Time alone changes nothing."""
        return ()

    def save(self) -> bytes:
        return msgspec.json.encode({sensor: tests.save() for sensor, tests in self._checks.items()})

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; one that cannot be read costs what the tests had seen."""
        try:
            kept = msgspec.json.decode(state, type=dict[str, Kept])
        except msgspec.DecodeError as e:
            log.error("quality: the kept state cannot be read, the tests begin anew: %s", e)
            return
        for sensor, of in kept.items():
            if sensor in self._checks:
                self._checks[sensor].restore(of)


def begin_anew(event: Event, sensors: Collection[str]) -> list[str]:
    """Those of the sensors whose next reading does not follow from the last, because of this event."""
    detail = event.detail
    match event.what:
        case "calibrated" | "sensor_changed":
            named = [detail.get("sensor")]
        case "correction" if detail.get("to_ms") is None:  # else it is one of history
            named = [detail.get("sensor")]
        case "maintenance" if detail.get("minutes") == 0:
            named = [detail.get("sensor", "")]
        case "visit":
            given = detail.get("sensors")
            named = list(given) if isinstance(given, list) else []
        case _:
            return []
    return [sensor for sensor in sensors if sensor in named or "" in named or "*" in named]
