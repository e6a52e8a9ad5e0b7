"""What the quality tests remember: through a restart of the process, and what ends it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import Event, Reading, Record, Stamp, Value
from gateway.qc import Attenuation, Checks, Expect, Flat
from gateway.qc_memory import QualityMemory
from gateway.qc_spike import SpikeFold
from tests.qc_series import Series, random_series, stamp

EXPECT = Expect(
    gross=(0.0, 14.0),
    rate_per_s=0.001,
    flat=Flat(0.05, 30.0, 60.0),
    attenuated=Attenuation(100.0, 0.05),
    gap_s=15.0,
    climatology={11: (6.0, 9.0)},
)


def reading(value: float, at: Stamp, raw: float | None = None) -> Reading:
    return Reading("ph1", "y532", "water", at, {"ph": Value(value if raw is None else raw, value, "pH", 1)})


class Life:
    """A process with its tests, begun with what the journal kept and what it replays."""

    def __init__(self, expect: Expect, every_s: float, kept: bytes = b"", replay: list[Record] | None = None):
        self.checks = Checks({"ph": expect}, every_s)
        self.fold = QualityMemory({"ph1": self.checks})
        if kept:
            self.fold.restore(kept)
        for record in replay or []:
            self.fold.step(record)

    def read(self, record: Record) -> tuple[int, str]:
        assert isinstance(record.body, Reading)
        found = self.checks.flag("ph", record.body.values["ph"].value, record.body.at)
        self.fold.step(record)
        return found


@settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(random_series(), st.data())
def test_killed_anywhere_the_flags_are_the_same(series: Series, data: st.DataObject) -> None:
    records = [
        Record(i + 1, reading(x, stamp(i * series.every_s)))
        for i, x in enumerate(series.slots)
        if x is not None
    ]
    whole = Life(series.expect, series.every_s)
    wanted = [whole.read(record) for record in records]
    kept_at, killed_at = sorted(data.draw(st.tuples(*[st.integers(0, len(records))] * 2)))
    before = Life(series.expect, series.every_s)
    found = [before.read(record) for record in records[:kept_at]]
    kept = before.fold.save()
    found += [before.read(record) for record in records[kept_at:killed_at]]
    after = Life(series.expect, series.every_s, kept, records[kept_at:killed_at])
    assert after.fold.save() == before.fold.save()
    assert found + [after.read(record) for record in records[killed_at:]] == wanted


def flat() -> Life:
    """ph1 has said 7 for a hundred seconds."""
    life = Life(EXPECT, 10.0)
    assert [life.read(Record(i + 1, reading(7.0, stamp(10 * i))))[0] for i in range(10)][-1] == 4
    return life


def test_another_boot_has_another_clock() -> None:
    after = Life(EXPECT, 10.0, flat().fold.save())
    at = stamp(100)
    other = Stamp(at.utc_ms, "boot0002", at.mono_ms, True)
    assert after.read(Record(11, reading(8.0, other))) == (1, "")
    again = Life(EXPECT, 10.0, flat().fold.save())
    assert again.read(Record(11, reading(8.0, at))) == (3, "rate of change")


def test_other_limits_begin_anew() -> None:
    kept = flat().fold.save()
    other = Life(Expect(flat=Flat(0.5, 30.0, 60.0)), 10.0, kept)
    assert other.read(Record(11, reading(7.0, stamp(100)))) == (2, "")
    slower = Life(EXPECT, 20.0, kept)
    assert slower.read(Record(11, reading(7.0, stamp(100)))) == (1, "")
    same = Life(EXPECT, 10.0, kept)
    assert same.read(Record(11, reading(7.0, stamp(100))))[0] == 4


@pytest.mark.parametrize(
    "kept",
    [b"", b"{", b'{"ph1": 5}', b'{"other": [null, {}]}', b'{"ph1": [null, {"other": ["", []]}]}'],
)
def test_what_cannot_be_used_costs_the_memory_and_nothing_else(kept: bytes) -> None:
    life = Life(EXPECT, 10.0)
    life.fold.restore(kept)
    assert life.read(Record(11, reading(7.0, stamp(100)))) == (1, "")


@pytest.mark.parametrize("damage", ["[1,2]", "[null]", "[1,2,9,1,1,1]", "[]"])
def test_a_damaged_state_of_a_test(damage: str) -> None:
    kept = flat().fold.save().decode()
    states = kept[kept.rindex("[[") + 1 : kept.rindex("]]") + 1]
    parts = states.split("],[")
    broken = kept.replace(parts[-1], damage.strip("[]") + "]")
    life = Life(EXPECT, 10.0, broken.encode())
    assert life.read(Record(11, reading(7.0, stamp(100))))[0] in (1, 2, 4)
    assert life.read(Record(12, reading(7.0, stamp(110))))[0] in (1, 2, 4)


ANEW: list[tuple[str, dict[str, Any], bool]] = [
    ("calibrated", {"sensor": "ph1"}, True),
    ("calibrated", {"sensor": "ph2"}, False),
    ("correction", {"sensor": "ph1", "from_ms": 5}, True),
    ("correction", {"sensor": "ph1", "from_ms": 5, "to_ms": 9}, False),
    ("sensor_changed", {"sensor": "ph1"}, True),
    ("maintenance", {"sensor": "ph1", "minutes": 0}, True),
    ("maintenance", {"sensor": "", "minutes": 0}, True),
    ("maintenance", {"sensor": "ph1", "minutes": 45}, False),
    ("visit", {"sensors": ["*"]}, True),
    ("visit", {"sensors": ["ph1"]}, True),
    ("visit", {"sensors": ["ph2"]}, False),
    ("visit", {"sensors": 5}, False),
    ("started", {}, False),
]


@pytest.mark.parametrize(("what", "detail", "anew"), ANEW)
def test_from_the_bottle_to_the_river(what: str, detail: dict[str, Any], anew: bool) -> None:
    """The first value after a calibration is no change of the river, and its neighbour no spike."""
    life = flat()
    life.fold.step(Record(11, Event(stamp(95), what, detail)))
    expected = (1, "") if anew else (3, "rate of change")
    assert life.read(Record(12, reading(8.0, stamp(100)))) == expected
    spikes = SpikeFold({"ph1": (10.0, {"ph": Expect(spike=(0.5, 1.0))})})
    for i, x in enumerate((7.0, 9.0)):
        assert not spikes.step(Record(i, reading(x, stamp(10 * i))))
    spikes.step(Record(2, Event(stamp(15), what, detail)))
    assert bool(spikes.step(Record(3, reading(7.0, stamp(20))))) is not anew


def test_a_spike_is_judged_by_the_corrected_value() -> None:
    """Raw 14 units a pH, as a bare electrode might say: what is small in pH is great in raw."""
    spikes = SpikeFold({"ph1": (10.0, {"ph": Expect(spike=(0.5, 1.0))})})
    for i, x in enumerate((7.0, 7.1, 7.0)):
        assert not spikes.step(Record(i, reading(x, stamp(10 * i), raw=14 * x)))
    for i, x in enumerate((8.0, 7.0), 3):
        said = spikes.step(Record(i, reading(x, stamp(10 * i), raw=0.1)))
    assert [(e.detail["raw"], e.detail["value"], e.detail["flag"]) for e in said if isinstance(e, Event)] == [
        (0.1, 8.0, 3)
    ]


def test_a_reading_of_an_unsure_clock_or_late() -> None:
    """Flags go by the boot's clock: a clock set meanwhile moves none; only the month waits for a right one.
    A value of before the last, which no bus gives, is compared with nothing.
    """
    life, other = Life(EXPECT, 10.0), Life(EXPECT, 10.0)
    for i in range(10):
        at = stamp(10 * i)
        unsure = Stamp(at.utc_ms - 86_400_000 * 200, at.boot, at.mono_ms, False)
        x = 7.0 + (i % 3) / 10
        right, wrong = life.read(Record(i, reading(x, at))), other.read(Record(i, reading(x, unsure)))
        assert right == wrong
    assert life.read(Record(20, reading(8.0, stamp(85)))) == (1, "")


def test_the_newest_value_goes_on_to_learn_its_successor() -> None:
    """7.0 leaves the window at 20 s; flat is then what came from its successor on, 10 s."""
    expect = Expect(flat=Flat(0.5, 20.0, 40.0))
    whole, before = Life(expect, 10.0), Life(expect, 10.0)
    for life in (whole, before):
        life.read(Record(1, reading(7.0, stamp(0))))
    after = Life(expect, 10.0, before.fold.save())
    for i, (x, flag) in enumerate(((7.1, 2), (7.55, 1), (7.5, 3)), 1):
        record = Record(i + 1, reading(x, stamp(10 * i)))
        assert whole.read(record)[0] == after.read(record)[0] == flag
    assert after.fold.save() == whole.fold.save()
