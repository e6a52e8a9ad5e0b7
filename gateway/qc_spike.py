"""The spike test: a value is judged by its neighbours on both sides, so only when the next has come.

    ph   7.02   7.01   8.40   7.03                    | 8.40 - (7.01 + 7.03) / 2 | = 1.38 > 1.0
    seq   101    105    109    113
                               └ behind 113: Event("flagged", {"sensor": "ph1", "seq": 109, "flag": 4, …})

The reading was journaled and sent at once; nothing waits for its neighbour. The verdict is a record of its
own right behind the reading that proves it, in the same commit: `SpikeFold` is a fold of the journal, so it
comes exactly once and a restart loses none (gateway/README.md, D7). Only a verdict worse than the flag that
was sent makes a record.

Judged is the corrected value, as by the other tests, whose limits are in the same unit.

Sources: as gateway/qc.py; test 6, spike. Both methods are those of ioos_qc 3.0.0 (`spike_test`): "average",
the manual's, takes the distance to the middle of the neighbours, and so a great spike also convicts these;
"differential" takes the smaller of the two steps, if they go opposite ways.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.model import Body, Event, Reading, Record, Stamp, Value
from gateway.qc import Expect, expected, worst
from gateway.qc_memory import begin_anew
from gateway.qc_tests import missed_ms

if TYPE_CHECKING:
    from gateway import config_parts

log = logging.getLogger(__name__)

_GOOD, _SUSPECT, _FAIL = 1, 3, 4
WHAT = "flagged"
"""The event that corrects the flag of one value of an earlier reading."""


def spike(before: float, value: float, after: float, limits: tuple[float, float], method: str) -> int:
    """The flag of `value`. `limits` are suspect and fail, in the unit of the values."""
    if method == "differential":
        up, down = value - before, after - value
        height = 0.0 if up * down >= 0 else min(abs(up), abs(down))
    else:
        height = abs(value - (before + after) / 2)
    if height > limits[1]:
        return _FAIL
    return _SUSPECT if height > limits[0] else _GOOD


class Seen(msgspec.Struct, array_like=True):
    """The last reading of a sensor, and of the one before it what the test needs."""

    seq: int
    medium: str
    at: Stamp
    values: dict[str, Value]
    before: dict[str, float]
    """The numbers of the reading before, where none was missed between the two."""


class SpikeFold:
    """Judges the last reading of a sensor when its next one comes. See gateway.journal.Fold."""

    name = "spikes"

    def __init__(self, sensors: Mapping[str, tuple[float, Mapping[str, Expect]]]) -> None:
        """`sensors`: of each its `every_s`, and what is expected of its quantities."""
        self._tests: dict[str, dict[str, tuple[tuple[float, float], str]]] = {}
        self._longest_ms: dict[str, float] = {}
        for sensor, (every_s, expect) in sensors.items():
            tests: dict[str, tuple[tuple[float, float], str]] = {
                quantity: (e.spike, e.spike_method) for quantity, e in expect.items() if e.spike is not None
            }
            if tests:
                self._tests[sensor] = tests
                self._longest_ms[sensor] = missed_ms(every_s)
        self._seen: dict[str, Seen] = {}

    def step(self, record: Record) -> Sequence[Body]:
        """See one record."""
        body = record.body
        if type(body) is not Reading:
            if type(body) is Event:
                for sensor in begin_anew(body, self._seen):
                    del self._seen[sensor]
            return ()
        if body.sensor not in self._tests:
            return ()
        tests = self._tests[body.sensor]
        last = self._seen.get(body.sensor)
        if last is not None and body.at.boot == last.at.boot and body.at.mono_ms < last.at.mono_ms:
            return ()  # it comes late, and is nobody's neighbour
        before: dict[str, float] = {}
        found: list[Body] = []
        if last is not None and self._follows(body, last.at):
            for quantity, value in last.values.items():
                before[quantity] = value.value
                if quantity in last.before and quantity in body.values:
                    after = body.values[quantity].value
                    flag = spike(last.before[quantity], value.value, after, *tests[quantity])
                    if flag != _GOOD and worst([flag, value.flag]) != value.flag:
                        found.append(_flagged(last, quantity, flag, body))
        values = {quantity: value for quantity, value in body.values.items() if quantity in tests}
        self._seen[body.sensor] = Seen(record.seq, body.medium, body.at, values, before)
        return found

    def tick(self, at: Stamp) -> Sequence[Body]:
        """Time alone proves nothing here."""
        return ()

    def save(self) -> bytes:
        return msgspec.json.encode(self._seen)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; one that cannot be read costs the verdict on one reading."""
        try:
            kept = msgspec.json.decode(state, type=dict[str, Seen])
        except msgspec.DecodeError as e:
            log.error("spikes: the kept state cannot be read, beginning anew: %s", e)
            kept = {}
        self._seen = {sensor: seen for sensor, seen in kept.items() if sensor in self._tests}
        for sensor, seen in self._seen.items():
            tests = self._tests[sensor]
            seen.values = {quantity: value for quantity, value in seen.values.items() if quantity in tests}

    def _follows(self, body: Reading, last: Stamp) -> bool:
        """Whether a reading comes right behind the last: in the same boot, none missed between the two."""
        passed_ms = body.at.mono_ms - last.mono_ms
        return body.at.boot == last.boot and 0 < passed_ms <= self._longest_ms[body.sensor]


def spike_folds(sensors: Iterable[config_parts.Sensor]) -> list[SpikeFold]:
    """The fold for these sensors; none where no quantity has the test."""
    expect = {sensor.id: (sensor.every_s, expected(sensor.expect)) for sensor in sensors}
    if all(e.spike is None for _, quantities in expect.values() for e in quantities.values()):
        return []
    return [SpikeFold(expect)]


def _flagged(last: Seen, quantity: str, flag: int, proof: Reading) -> Event:
    """The event that corrects the flag of a value of the last reading."""
    value = last.values[quantity]
    detail: dict[str, Any] = {"sensor": proof.sensor, "medium": last.medium, "quantity": quantity}
    detail |= {"seq": last.seq, "time_ms": last.at.utc_ms, "raw": value.raw, "value": value.value}
    detail |= {"unit": value.unit, "flag": flag, "why": "spike", "before": value.flag}
    if not last.at.synced:
        detail["mono_ms"] = last.at.mono_ms  # so that it finds its point, when that has been dated again
    return Event(proof.at, WHAT, detail)
