"""Single records that are dated again: flags, averages, verdicts, and what the sinks say of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence

from gateway.averages import AveragesFold
from gateway.dating import Dated, DatingFold
from gateway.dating_release import Release, redated
from gateway.influx_lines import Lines
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from gateway.mqtt_messages import average_json, event_json, reading_json
from gateway.qc import Expect
from gateway.qc_spike import SpikeFold
from tests.clocks import START_MS

AT = Stamp(START_MS, "b", 60_000, False)


def test_what_is_flagged_already_stays_at_least_so() -> None:
    values = {
        name: Value(1.0, 1.0, "pH", flag, why)
        for name, flag, why in (("a", 1, ""), ("b", 2, ""), ("c", 3, "rate"), ("d", 4, "gross"), ("e", 9, ""))
    }
    body = redated(Reading("s", "m", "water", AT, values), Dated(START_MS + 5, "estimated", 7))
    assert isinstance(body, Reading)
    found = {name: (v.flag, v.why) for name, v in body.values.items()}
    assert found == {
        "a": (3, "clock"), "b": (3, "clock"), "c": (3, "rate; clock"), "d": (4, "gross; clock"),
        "e": (9, "clock"),
    }  # fmt: skip
    sure = redated(Reading("s", "m", "water", AT, values), Dated(START_MS + 5, "dated", 7))
    assert isinstance(sure, Reading)
    assert sure.values == values


def test_an_average_moves_as_a_whole() -> None:
    mean = Mean(1.0, 0.5, 1.5, 6, 6, "pH", 1)
    average = Average("s", "m", "water", AT, START_MS - 60_000, 60, {"ph": mean})
    body = redated(average, Dated(START_MS + 37_000, "dated", 80))
    assert isinstance(body, Average)
    assert (body.start_ms, body.at.utc_ms) == (START_MS - 23_000, START_MS + 37_000)
    assert body.values == {"ph": mean}
    said = json.loads(average_json("s", 1, body))
    assert (said["clock"], said["uncertainty_ms"]) == ("dated", 80)


def test_what_the_sinks_say_of_it() -> None:
    value = Value(7.0, 7.0, "pH", 1)
    reading = redated(Reading("s", "m", "water", AT, {"ph": value}), Dated(START_MS + 5, "unknown", 7000))
    assert isinstance(reading, Reading)
    said = json.loads(reading_json("s1", 1, reading))
    assert (said["clock"], said["uncertainty_ms"]) == ("unsynced", 7000)
    assert said["time"] == "2026-11-23T10:00:00.005Z"
    assert said["values"]["ph"]["flag"] == 3
    line = Lines("s1").reading(reading)
    assert (
        line == f"water,station=s1,sensor=s uncertainty_ms=7000i,ph=7.0,ph_raw=7.0,ph_flag=3i {START_MS + 5}"
    )
    event = redated(Event(AT, "x", {}), Dated(START_MS + 5, "estimated", 7))
    assert isinstance(event, Event)
    said = json.loads(event_json("s1", 1, event))
    assert (said["clock"], said["uncertainty_ms"]) == ("estimated", 7)


def test_the_average_of_an_unsure_window_is_stamped_by_its_readings_clock() -> None:
    """It is given out after the sync, when the clock shows something else; and in the next boot."""
    for closing in (Stamp(START_MS + 10**9, "b", 130_000, True), Stamp(START_MS + 10**9, "c", 5000, False)):
        fold = AveragesFold([60], {"s": 10.0})
        for i in range(6):
            at = Stamp(START_MS + i * 10_000, "b", 60_000 + i * 10_000, False)
            fold.step(Record(i + 1, Reading("s", "m", "water", at, {"ph": Value(7.0, 7.0, "pH", 1)})))
        kept = AveragesFold([60], {"s": 10.0})
        kept.restore(fold.save())
        [average] = kept.tick(closing)
        assert average.at == Stamp(START_MS + 60_000, "b", 120_000, False)


def test_a_verdict_on_a_spike_finds_its_point_at_its_new_time() -> None:
    """The reading was dated anew, and its verdict comes from a synced one."""
    fold, spikes = DatingFold(), SpikeFold({"s": (10.0, {"ph": Expect(spike=(0.5, 1.0))})})
    derived: list[Body] = []
    for i, ph in enumerate((7.0, 9.0, 7.0)):
        synced = i == 2
        at = Stamp(START_MS + i * 10_000 + (10**9 if synced else 0), "b", 60_000 + i * 10_000, synced)
        record = Record(i + 1, Reading("s", "m", "water", at, {"ph": Value(ph, ph, "pH", 1)}))
        fold.step(record)
        derived += spikes.step(record)
    [flagged] = derived
    assert isinstance(flagged, Event)
    release = Release(fold, None, "influxdb", stamp=lambda: AT, hold_s=0)  # type: ignore[arg-type]  # not used
    release._safe_seq = 3
    point = release.take(
        Record(2, Reading("s", "m", "water", Stamp(START_MS + 10_000, "b", 70_000, False), {}))
    )
    verdict = release.take(Record(4, flagged))
    assert point is not None
    assert verdict is not None
    assert isinstance(verdict.body, Event)
    assert verdict.body.detail["time_ms"] == point.body.at.utc_ms == START_MS + 10_000 + 10**9


def test_a_disk_that_takes_nothing_lets_nothing_out() -> None:
    """A date that is not kept could be another one after a power cut."""

    class Full:
        committed_seq = 0
        synced = 0

        def append(self, bodies: Sequence[Body]) -> list[Record]:
            return [Record(7, body) for body in bodies]

        async def sync(self) -> None:
            self.synced += 1

    fold, journal = DatingFold(), Full()
    value = {"ph": Value(7.0, 7.0, "pH", 1)}
    before = Record(1, Reading("s", "m", "water", AT, value))
    fold.step(before)
    fold.step(Record(2, Reading("s", "m", "water", Stamp(START_MS, "b", 70_000, True), value)))
    release = Release(fold, journal, "mqtt", stamp=lambda: AT, hold_s=0)

    async def there() -> bool:
        return True

    async def main() -> None:
        for _ in range(3):
            assert release.take(before) is None
            await release.look(before, there)
        journal.committed_seq = 2
        await release.look(before, there)
        assert release.take(before) is not None
        assert journal.synced == 4

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(main())
