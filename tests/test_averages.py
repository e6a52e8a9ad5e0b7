"""Averages: the arithmetic against the standard library, windows, late readings, restarts."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.station import EmulatedStation
from gateway import config
from gateway import journal as journal_module
from gateway.alarms import AlarmFold
from gateway.averages import AveragesFold, averages
from gateway.averages_sums import METHODS, Method, Sums, add_plain, add_special, mean, sort_out
from gateway.averages_windows import local_day
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from gateway.qc_spike import spike_folds
from gateway.station import watch
from gateway.station_parts import average_folds

TEN_MS = 1_795_428_000_000
"""2026-11-23 10:00 UTC."""
BISHKEK = ZoneInfo("Asia/Bishkek")


def at(ms: int, *, mono_ms: int | None = None, boot: str = "boot0001", synced: bool = True) -> Stamp:
    """So many ms after ten o'clock."""
    return Stamp(TEN_MS + ms, boot, 1_000_000 + ms if mono_ms is None else mono_ms, synced)


def reading(ms: int, value: float, flag: int = 1, *, stamp: Stamp | None = None, **more: Value) -> Reading:
    return Reading(
        "t1", "y511", "water", stamp or at(ms), {"turbidity": Value(value, value, "NTU", flag), **more}
    )


def fold(lengths_s: Sequence[float] = (60,), every_s: float = 10.0, **wishes: object) -> AveragesFold:
    return AveragesFold(lengths_s, {"t1": every_s, "wind": 1.0}, **wishes)  # type: ignore[arg-type]  as given


class Run:
    """A fold, what it is shown, and what it gave."""

    def __init__(self, fold: AveragesFold) -> None:
        self.fold = fold
        self.seq = 0
        self.given: list[Body] = []

    def see(self, *bodies: Body) -> list[Body]:
        given: list[Body] = []
        for body in bodies:
            self.seq += 1
            given += self.fold.step(Record(self.seq, body))
        self.given += given
        return given

    def tick(self, ms: int, stamp: Stamp | None = None) -> list[Body]:
        given = list(self.fold.tick(stamp or at(ms)))
        self.given += given
        return given

    def averages(self) -> list[Average]:
        return [body for body in self.given if isinstance(body, Average)]


def one(bodies: Sequence[Body]) -> Average:
    [average] = bodies
    assert isinstance(average, Average)
    return average


# ── the arithmetic ──────────────────────────────────────────────────────────────────────────────────


def mean_of(
    name: str, values: Sequence[float], method: Method | None = None, speeds: Sequence[float] = ()
) -> float | None:
    """The mean that a window would have of these values."""
    methods = {name: method} if method else {}
    sums: dict[str, Sums] = {}
    for i, x in enumerate(values):
        entry = {name: Value(x, x, "", 1)}
        if speeds:
            entry["wind_speed"] = Value(speeds[i], speeds[i], "m/s", 1)
        plain, special, _ = sort_out(entry, frozenset((1, 2)), methods)
        add_plain(sums, [p for p in plain if p[0] == name])
        add_special(sums, special)
    return mean(sums[name], method)


@pytest.mark.parametrize(
    ("name", "method", "values", "expected"),
    [
        ("turbidity", None, [1.0, 2.0, 6.0], 3.0),
        ("turbidity", None, [1e16, 1.0, -1e16], 1 / 3),  # a plain sum loses the 1
        ("turbidity", None, [0.1] * 10, 0.1),
        ("ph", Method.HYDROGEN, [4.0, 8.0], 4.300986),  # -log10((1e-4 + 1e-8) / 2)
        ("ph", Method.HYDROGEN, [7.0, 7.0, 7.0], 7.0),
        ("ph", Method.HYDROGEN, [6.0, 7.0], 6.259637),  # -log10(5.5e-7)
        ("ph", Method.ARITHMETIC, [4.0, 8.0], 6.0),
        ("ph", Method.MEDIAN, [4.0, 8.0, 7.25], 7.25),
        ("ph", Method.MEDIAN, [4.0, 7.0, 7.2, 9.9], 7.1),
        ("ph", Method.MEDIAN, [7.0, 7.0, 7.0, 9.9], 7.0),
        ("ph", Method.MEDIAN, [6.5], 6.5),
        ("wind_direction", Method.VECTOR, [350.0, 10.0], 0.0),
        ("wind_direction", Method.VECTOR, [90.0, 180.0], 135.0),
        ("wind_direction", Method.VECTOR, [350.0, 350.0, 350.0, 40.0], 1.8757),
        ("wind_direction", Method.VECTOR, [0.0, 180.0], None),
    ],
)
def test_means(name: str, method: Method | None, values: list[float], expected: float | None) -> None:
    found = mean_of(name, values, method)
    if expected is None:
        assert found is None
    elif name == "wind_direction":
        assert found is not None
        assert 0 <= found < 360
        assert (found - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    else:
        assert found == pytest.approx(expected, rel=1e-6 if method is Method.HYDROGEN else 1e-15)


def test_a_strong_wind_counts_for_more_than_a_weak_one() -> None:
    # 9 m/s from the east, 1 m/s from the north: atan2(9, 1) = 83.66 degrees
    found = mean_of("wind_direction", [90.0, 0.0], Method.VECTOR, speeds=[9.0, 1.0])
    assert found == pytest.approx(83.6598, abs=1e-4)
    assert mean_of("wind_direction", [90.0, 0.0], Method.VECTOR, speeds=[0.0, 0.0]) is None


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_plain_means_are_those_of_the_standard_library(values: list[float]) -> None:
    sums: dict[str, Sums] = {}
    add_plain(sums, [("q", 1, v, v) for v in values])
    found, s = mean(sums["q"], None), sums["q"]
    # The sum is right to an ulp of what is left when everything has cancelled out.
    assert found == pytest.approx(statistics.fmean(values), rel=1e-14, abs=1e-20 * max(map(abs, values)))
    assert (s.used, s.low, s.high) == (len(values), min(values), max(values))


@given(st.lists(st.floats(0, 14), min_size=1, max_size=100))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_means_and_medians_of_ph(values: list[float]) -> None:
    ions = statistics.fmean(10.0**-v for v in values)
    assert mean_of("ph", values, Method.HYDROGEN) == pytest.approx(-math.log10(ions), abs=1e-12)
    assert mean_of("ph", values, Method.MEDIAN) == pytest.approx(statistics.median(values), abs=0.005001)


def test_a_mean_never_leaves_the_values_it_is_made_of() -> None:
    for i in range(1401):
        value = i / 100
        assert mean_of("ph", [value] * 7, Method.HYDROGEN) == value
        assert mean_of("turbidity", [value / 7] * 11) == value / 7


def test_what_cannot_be_used_does_no_harm() -> None:
    run = Run(fold())
    for i, bad in enumerate((math.nan, math.inf, -math.inf, 1e300)):
        run.see(reading(i * 1000, bad, ph=Value(-300.0, -300.0, "pH", 2)))
    run.see(reading(5000, 3.0, ph=Value(7.0, 7.0, "pH", 2)))
    average = one(run.tick(65_000))
    assert average.values["turbidity"] == Mean(3.0, 3.0, 3.0, 1, 6, "NTU", 3, "incomplete")
    assert average.values["ph"] == Mean(7.0, 7.0, 7.0, 1, 6, "pH", 3, "incomplete")


def test_a_mean_that_a_quantity_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="turbidity has no median mean"):
        fold(methods={"turbidity": Method.MEDIAN})
    with pytest.raises(ValueError, match="windows of 420 s do not divide a day"):
        fold([420])


# ── windows ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_minute() -> None:
    run = Run(fold())
    assert run.see(*(reading(i * 10_000, float(i)) for i in range(6))) == []
    assert run.tick(64_999) == []
    average = one(run.tick(65_000))
    assert average == Average(
        "t1", "y511", "water", at(60_000), TEN_MS, 60, {"turbidity": Mean(2.5, 0.0, 5.0, 6, 6, "NTU", 1)}
    )
    assert run.tick(66_000) == []
    assert run.tick(3_600_000) == []  # a window in which nothing came gives nothing


def test_a_reading_closes_a_window_as_time_does() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, float(i)) for i in range(6)))
    assert run.see(reading(60_000, 100.0)) == []
    assert one(run.see(reading(70_000, 100.0))).values["turbidity"].mean == 2.5
    assert one(run.tick(125_000)).values["turbidity"].used == 2


@pytest.mark.parametrize(
    ("flags", "suspect", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], False, (2.5, 6, 1, "")),
        ([2, 2, 2, 2, 2, 2], False, (2.5, 6, 2, "")),
        ([1, 1, 1, 1, 1, 2], False, (2.5, 6, 2, "")),
        ([1, 1, 1, 1, 1, 4], False, (2.0, 5, 1, "")),  # 5 of 6 are 83 %
        ([1, 1, 1, 1, 4, 4], False, (1.5, 4, 3, "incomplete")),  # 67 %
        ([1, 1, 1, 1, 1, 3], False, (2.0, 5, 1, "")),
        ([1, 1, 1, 1, 1, 3], True, (2.5, 6, 3, "suspect values")),
        ([9, 9, 9, 9, 9, 9], True, (None, 0, 9, "no usable value")),
        ([4, 4, 4, 4, 4, 4], True, (None, 0, 9, "no usable value")),
    ],
)
def test_flags(flags: list[int], suspect: bool, expected: tuple[float | None, int, int, str]) -> None:
    run = Run(fold(suspect=suspect))
    run.see(*(reading(i * 10_000, float(i), flag) for i, flag in enumerate(flags)))
    found = one(run.tick(65_000)).values["turbidity"]
    assert (found.mean, found.used, found.flag, found.why) == expected
    assert (found.minimum is None) is (found.used == 0)


def test_three_quarters_are_enough() -> None:
    run = Run(fold(every_s=7.5))
    run.see(*(reading(i * 7500, 1.0) for i in range(6)))
    assert one(run.tick(65_000)).values["turbidity"] == Mean(1.0, 1.0, 1.0, 6, 8, "NTU", 1)


@pytest.mark.parametrize(
    ("length_s", "every_s", "expected"),
    [(60, 10, 6), (60, 7, 8), (60, 0.1, 600), (60, 600, 1), (3600, 10, 360)],
)
def test_the_expected_number(length_s: int, every_s: float, expected: int) -> None:
    run = Run(fold([length_s], every_s))
    run.see(reading(0, 1.0))
    assert one(run.tick(length_s * 1000 + 5000)).values["turbidity"].expected == expected


def test_several_lengths_and_sensors() -> None:
    run = Run(fold([60, 600, 3600]))
    for i in range(361):
        run.see(reading(i * 10_000, float(i)))
        run.tick(i * 10_000 + 5001)
    run.tick(3_605_000)
    by_length = {n: [a for a in run.averages() if a.length_s == n] for n in (60, 600, 3600)}
    assert [len(by_length[n]) for n in (60, 600, 3600)] == [60, 6, 1]
    assert by_length[3600][0].values["turbidity"].mean == statistics.fmean(range(360))
    assert by_length[600][3].values["turbidity"].mean == statistics.fmean(range(180, 240))
    assert {a.revision for a in run.averages()} == {0}
    assert Run(fold()).see(Reading("gone", "m", "water", at(0), {"ph": Value(7.0, 7.0, "pH", 1)})) == []


@pytest.mark.parametrize(
    ("zone", "moment", "start", "hours"),
    [
        ("Asia/Bishkek", "2026-11-23T10:00+00:00", "2026-11-22T18:00+00:00", 24),
        ("Asia/Bishkek", "2026-11-23T17:59+00:00", "2026-11-22T18:00+00:00", 24),
        ("Asia/Bishkek", "2026-11-23T18:00+00:00", "2026-11-23T18:00+00:00", 24),
        ("Europe/Berlin", "2026-03-29T12:00+00:00", "2026-03-28T23:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00+00:00", "2026-10-24T22:00+00:00", 25),
        ("UTC", "1970-01-01T00:00+00:00", "1970-01-01T00:00+00:00", 24),
    ],
)
def test_the_day_is_the_station_s(zone: str, moment: str, start: str, hours: int) -> None:
    moment_ms, start_ms = (int(datetime.fromisoformat(t).timestamp() * 1000) for t in (moment, start))
    assert local_day(moment_ms, ZoneInfo(zone)) == (start_ms, start_ms + hours * 3_600_000)
    run = Run(fold([86400], 600.0, zone=ZoneInfo(zone)))
    run.see(reading(0, 1.0, stamp=Stamp(moment_ms, "b", 0, True)))
    average = one(run.tick(0, Stamp(start_ms + hours * 3_600_000 + 5000, "b", 9, True)))
    assert (average.start_ms, average.at.utc_ms - start_ms) == (start_ms, hours * 3_600_000)
    assert (average.length_s, average.values["turbidity"].expected) == (86400, hours * 6)


def test_a_day_that_no_calendar_has() -> None:
    assert local_day(10**18, UTC) == (
        10**18 // 86_400_000 * 86_400_000,
        (10**18 // 86_400_000 + 1) * 86_400_000,
    )


def test_an_unsynced_reading_makes_an_unsynced_average() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(5)), reading(0, 1.0, stamp=at(50_000, synced=False)))
    assert not one(run.tick(65_000)).at.synced
    run.see(reading(66_000, 1.0))
    assert one(run.tick(125_000)).at.synced


def test_another_unit_is_never_mixed_in() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 100.0) for i in range(3)))
    run.see(
        *(
            Reading("t1", "y511", "water", at(i * 10_000), {"turbidity": Value(1, 1, "FNU", 1)})
            for i in (3, 4)
        )
    )
    found = one(run.tick(65_000)).values["turbidity"]
    assert (found.mean, found.used, found.unit, found.why) == (1.0, 2, "FNU", "incomplete")


# ── late readings, clocks, verdicts ─────────────────────────────────────────────────────────────────


def test_a_late_reading_corrects_its_average() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(5)))
    run.see(*(reading(60_000 + i * 10_000, 5.0) for i in range(6)))
    assert one(run.averages()).values["turbidity"].used == 5
    assert run.see(reading(50_000, 7.0)) == []
    corrected = one(run.tick(112_000))
    assert (corrected.start_ms, corrected.revision) == (TEN_MS, 1)
    assert corrected.values["turbidity"] == Mean(2.0, 1.0, 7.0, 6, 6, "NTU", 1)
    run.see(reading(51_000, 7.0), reading(52_000, 7.0))
    assert one(run.tick(113_000)).revision == 2  # a burst makes one
    assert one(run.tick(125_000)).values["turbidity"].mean == 5.0


def test_a_correction_does_not_close_what_still_waits() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(12)))
    run.see(reading(52_000, 7.0))
    assert one(run.tick(121_000)).revision == 1
    run.see(reading(119_999, 7.0))
    assert one(run.tick(125_000)).values["turbidity"].used == 7


def test_a_late_reading_begins_a_window_that_had_nothing() -> None:
    run = Run(fold())
    run.see(reading(0, 1.0), reading(180_000, 1.0))
    run.tick(181_000)
    run.see(reading(70_000, 9.0))
    average = one(run.tick(182_000))
    assert (average.start_ms - TEN_MS, average.revision) == (60_000, 0)


def test_what_is_too_late_is_said() -> None:
    run = Run(fold([60, 3600]))
    for minute in range(6):
        run.see(reading(minute * 60_000, 1.0))
    run.tick(306_000)
    assert run.see(reading(1000, 9.0), reading(2000, 9.0)) == []
    [event] = run.tick(307_000)
    assert isinstance(event, Event)
    assert event.what == "not_averaged"
    assert event.detail["length_s"] == 60
    assert event.detail["readings"] == 2
    assert run.tick(308_000) == []
    hour = [a for a in (run.tick(3_605_000), run.averages())[1] if a.length_s == 3600]
    assert one(hour).values["turbidity"].used == 8  # the hour was still open


def test_a_clock_that_was_wrong_by_years_holds_nothing_up() -> None:
    run = Run(fold())
    years_ms = 20 * 365 * 86_400_000
    run.see(*(reading(i * 10_000, 1.0) for i in range(3)))
    for i in range(3):
        run.see(reading(0, 2.0, stamp=at(years_ms + i * 10_000, mono_ms=1_030_000 + i * 10_000)))
    run.see(*(reading(60_000 + i * 10_000, 3.0) for i in range(7)))
    run.tick(126_000)
    found = {
        (a.start_ms - TEN_MS, a.values["turbidity"].mean, a.values["turbidity"].used) for a in run.averages()
    }
    assert found == {(0, 1.0, 3), (years_ms, 2.0, 3), (60_000, 3.0, 6)}


def test_a_clock_set_back_by_an_hour_counts_anew() -> None:
    run = Run(fold())
    for i in range(36):
        run.see(reading(i * 10_000, 1.0))
        run.tick(i * 10_000 + 5000)
    before = len(run.averages())
    back_ms = -3_600_000
    for i in range(12):
        run.see(reading(0, 2.0, stamp=at(back_ms + i * 10_000, mono_ms=1_360_000 + i * 10_000)))
    run.tick(back_ms + 126_000)
    again = [(a.start_ms - TEN_MS, a.values["turbidity"].used) for a in run.averages()[before:]]
    assert again == [(300_000, 6), (back_ms, 6), (back_ms + 60_000, 6)]
    assert not any(isinstance(body, Event) for body in run.given)
    # What is older than the moment it was set back to has been given out: a piece of it is no average.
    run.see(reading(0, 9.0, stamp=at(back_ms - 120_000, mono_ms=1_360_000)))
    assert [body.what for body in run.tick(back_ms + 127_000) if isinstance(body, Event)] == ["not_averaged"]


def flagged(seq: int, flag: int) -> Event:
    return Event(at(0), "flagged", {"sensor": "t1", "quantity": "turbidity", "seq": seq, "flag": flag})


@pytest.mark.parametrize("where", range(1, 5))
def test_a_spike_that_is_known_later_is_not_averaged(where: int) -> None:
    run = Run(fold(judged_later={"t1"}))
    for i in range(6):
        run.see(reading(i * 10_000, 500.0 if i == where else 1.0))
        seq = run.seq
        if i == where + 1:
            run.see(flagged(seq - 1, 4))
    run.see(reading(60_000, 2.0))
    assert run.tick(65_000) == []  # the verdict may still come
    found = one(run.tick(85_000)).values["turbidity"]
    assert (found.mean, found.maximum, found.used, found.flag) == (1.0, 1.0, 5, 1)


def test_a_verdict_on_the_last_reading_of_a_window_is_waited_for() -> None:
    run = Run(fold(judged_later={"t1"}))
    run.see(*(reading(i * 10_000, 500.0 if i == 5 else 1.0) for i in range(6)))
    kept = run.fold.save()
    run.fold = fold(judged_later={"t1"})
    run.fold.restore(kept)
    run.see(reading(60_000, 2.0), flagged(6, 4), flagged(99, 4))
    assert one(run.tick(85_000)).values["turbidity"].maximum == 1.0
    assert one(run.tick(145_000)).values["turbidity"].mean == 2.0


# ── restarts ────────────────────────────────────────────────────────────────────────────────────────


def script(chance: Random, count: int) -> list[Body | Stamp]:
    """Readings of two sensors, some flagged, some late; and ticks."""
    entries: list[Body | Stamp] = []
    for i in range(count):
        ms = i * 3000
        value = round(chance.gauss(40, 10), 2)
        flag = chance.choice((1, 1, 1, 2, 3, 4))
        ph = Value(7.0 + chance.random(), 7.0 + chance.random(), "pH", 1)
        if chance.random() < 0.1:
            late_ms = max(0, ms - chance.randrange(400_000))
            entries.append(reading(late_ms, value, flag, ph=ph))
        if chance.random() < 0.9:
            entries.append(reading(ms, value, flag, stamp=at(ms, synced=chance.random() < 0.98), ph=ph))
        wind = {"wind_direction": 360 * chance.random(), "wind_speed": 9 * chance.random()}
        entries.append(
            Reading("wind", "gill", "air", at(ms + 1), {q: Value(v, v, "", 1) for q, v in wind.items()})
        )
        entries.append(at(ms + 2000))
    return entries


def play_script(fold: AveragesFold, entries: Sequence[Body | Stamp], restart_at: set[int]) -> list[Body]:
    run = Run(fold)
    for i, entry in enumerate(entries):
        if i in restart_at:
            kept, before = run.fold.save(), run.fold._sensors
            run.fold = AveragesFold(**WISHES)  # type: ignore[arg-type]  as given
            run.fold.restore(kept)
            assert run.fold._sensors == before
        if isinstance(entry, Stamp):
            run.tick(0, entry)
        else:
            run.see(entry)
    run.tick(10**8)
    return run.given


WISHES = {
    "lengths_s": (60, 600, 3600, 86400),
    "every_s": {"t1": 3.0, "wind": 3.0},
    "zone": BISHKEK,
    "methods": {"ph": Method.MEDIAN, "wind_direction": Method.VECTOR},
    "judged_later": {"t1"},
    "suspect": True,
}


@pytest.mark.parametrize("seed", range(5))
def test_a_fold_restored_anywhere_goes_on_as_if_nothing_had_been(seed: int) -> None:
    chance = Random(seed)
    entries = script(chance, 400)
    whole = play_script(AveragesFold(**WISHES), entries, set())  # type: ignore[arg-type]  as given
    assert len([b for b in whole if isinstance(b, Average) and b.revision]) > 3
    assert any(isinstance(b, Event) for b in whole)
    restarts = set(chance.sample(range(len(entries)), 60))
    assert play_script(AveragesFold(**WISHES), entries, restarts) == whole  # type: ignore[arg-type]  as given


def test_a_restart_forgets_no_reading_that_came_too_late() -> None:
    run = Run(fold())
    run.see(*(reading(minute * 60_000, 1.0) for minute in range(6)))
    run.see(reading(1000, 9.0), reading(2000, 9.0))
    kept = run.fold.save()
    run.fold = fold()
    run.fold.restore(kept)
    assert [b.detail["readings"] for b in run.tick(301_000) if isinstance(b, Event)] == [2]


def test_a_state_that_cannot_be_read_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(fold())
    run.fold.restore(b'{"t1": 7}')
    assert "beginning anew" in caplog.text
    run.see(reading(0, 1.0))
    assert len(run.tick(65_000)) == 1


def test_what_is_no_longer_wanted_is_left() -> None:
    run = Run(fold([60, 3600]))
    run.see(reading(0, 1.0))
    other = AveragesFold([600], {"t1": 10.0})
    other.restore(run.fold.save())
    assert list(other.tick(at(10**7))) == []
    nobody = AveragesFold([60], {})
    nobody.restore(run.fold.save())
    assert nobody.save() == b"{}"


class FixedClock(Clock):
    def __init__(self) -> None:
        self.boot = "boot0001"
        self.now = at(0)

    def stamp(self) -> Stamp:
        return self.now


async def everything(journal: Journal) -> list[Record]:
    found: list[Record] = []
    while batch := await journal.after(found[-1].seq if found else 0, 500):
        found += batch
    return found


def in_time(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(40):
            await job()

    asyncio.run(within())


def final(records: Sequence[Record]) -> dict[tuple[str, int, int], dict[str, Mean]]:
    """The last word on every window."""
    averages = [r.body for r in records if isinstance(r.body, Average)]
    seen = [(a.sensor, a.length_s, a.start_ms, a.revision) for a in averages]
    assert len(seen) == len(set(seen)), "the same average twice"
    return {(a.sensor, a.length_s, a.start_ms): a.values for a in averages}


@pytest.mark.parametrize("settle_bytes", [3000, 500_000])
def test_a_killed_journal_has_the_averages_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settle_bytes: int
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", settle_bytes)
    chance = Random(7)
    entries = script(chance, 250)

    async def through(folder: Path, kills: set[int]) -> list[Record]:
        clock = FixedClock()
        journal = Journal(folder, clock, folds=[AveragesFold(**WISHES)])  # type: ignore[arg-type]  as given
        await journal.open()
        uncommitted: list[Body | Stamp] = []

        def see(entry: Body | Stamp) -> None:
            uncommitted.append(entry)
            if isinstance(entry, Stamp):
                clock.now = entry
                journal.tick()
            else:
                journal.append([entry])

        for i, entry in enumerate(entries):
            see(entry)
            if i in kills:  # what was not committed is gone, and the instruments say it again
                again, uncommitted = uncommitted, []
                await journal._in_thread(journal._disk.close)
                journal = Journal(folder, clock, folds=[AveragesFold(**WISHES)])  # type: ignore[arg-type]  as given
                await journal.open()
                for one_more in again:
                    see(one_more)
            if i % 5 == 0:
                await journal.sync()
                uncommitted.clear()
        clock.now = at(10**8)
        journal.tick()
        await journal.sync()
        found = await everything(journal)
        await journal.close()
        return found

    async def job() -> None:
        whole = final(await through(tmp_path / "whole", set()))
        assert len(whole) > 20
        kills = set(chance.sample(range(len(entries)), 25))
        assert final(await through(tmp_path / "killed", kills)) == whole

    in_time(job)


# ── the station ─────────────────────────────────────────────────────────────────────────────────────


def station(folder: Path, *edits: tuple[str, str]) -> config.Station:
    """The emulated station's configuration, changed."""
    text = EmulatedStation(folder / "ports").station_toml(data=folder, mqtt_url="mqtt://127.0.0.1:1")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file)


def test_the_station_makes_what_its_sinks_ask_for(tmp_path: Path) -> None:
    asked = station(tmp_path, ('"average:1 min"', '"average:1 min", "average:24 h"'))
    made = averages(asked)
    assert made._lengths_s == [60, 86400]
    assert made._zone == BISHKEK
    assert made._every_s == {sensor.id: sensor.every_s for sensor in asked.sensors}
    assert [fold.name for fold in average_folds(asked)] == ["averages"]
    assert average_folds(station(tmp_path, ('"average:1 min", ', ""))) == []


def test_the_station_says_how_averages_are_made(tmp_path: Path) -> None:
    usual = averages(station(tmp_path))
    assert (usual._complete, usual._usable, usual._methods["ph"]) == (0.75, {1, 2}, Method.HYDROGEN)
    keys = '[average]\ncomplete = 50\nsuspect = true\nph = "median"\n\n[journal]'
    made = averages(station(tmp_path, ("[journal]", keys)))
    assert (made._complete, made._usable, made._methods["ph"]) == (0.5, {1, 2, 3}, Method.MEDIAN)
    for wrong, said in (('ph = "mean"', "average.ph"), ("complete = 0", "average.complete")):
        with pytest.raises(ConfigError, match=said):
            station(tmp_path, ("[journal]", f"[average]\n{wrong}\n\n[journal]"))


@pytest.mark.parametrize("method", [Method.ARITHMETIC, Method.MEDIAN])
def test_another_mean_of_ph_begins_its_windows_anew(method: Method) -> None:
    """Sums of hydrogen ions are none of pH; other quantities of the window go on."""

    def fold(how: Method) -> AveragesFold:
        return AveragesFold((60,), {"s": 10.0}, methods={**METHODS, "ph": how})

    def read(into: AveragesFold, second: int) -> list[Body]:
        at = Stamp(TEN_MS + second * 1000, "boot0001", second * 1000, True)
        values = {"ph": Value(4.0, 4.0, "pH", 1), "level": Value(1.0, 1.0, "m", 1)}
        return list(into.step(Record(second + 1, Reading("s", "m", "water", at, values))))

    usual, other, same = fold(Method.HYDROGEN), fold(method), fold(Method.HYDROGEN)
    for second in (0, 10, 20):
        read(usual, second)
    for after, used in ((other, 3), (same, 6)):
        after.restore(usual.save())
        for second in (30, 40, 50):
            read(after, second)
        again = fold(method if after is other else Method.HYDROGEN)
        again.restore(after.save())
        [body] = again.tick(Stamp(TEN_MS + 70_000, "boot0001", 70_000, True))
        assert isinstance(body, Average)
        assert (body.values["ph"].used, body.values["level"].used) == (used, 6)
        assert body.values["ph"].mean == pytest.approx(4.0)


def test_a_reading_waits_for_its_verdict_where_spikes_are_looked_for(tmp_path: Path) -> None:
    asked = station(tmp_path)
    assert asked.sensors[0].expect["ph"].spike == (0.5, 1.0)
    assert averages(asked)._judged_later == {"ph1"}
    clock = FixedClock()

    async def job() -> None:
        both = [*spike_folds(asked.sensors), averages(asked)]
        journal = Journal(tmp_path / "data", clock, folds=both)
        await journal.open()
        for i in range(31):
            clock.now = at(i * 2000)
            value = 7.8 if i == 29 else 7.0
            journal.append([Reading("ph1", "y532", "water", clock.now, {"ph": Value(value, value, "pH", 1)})])
        clock.now = at(70_000)
        journal.tick()
        await journal.sync()
        records = await everything(journal)
        await journal.close()
        assert [r.body.what for r in records if isinstance(r.body, Event)] == ["flagged"]
        [average] = [r.body for r in records if isinstance(r.body, Average)]
        assert average.values["ph"] == Mean(7.0, 7.0, 7.0, 29, 30, "pH", 1)

    in_time(job)


def test_a_length_that_does_not_divide_the_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"average:7 min.*does not divide a day"):
        station(tmp_path, ("average:1 min", "average:7 min"))


def test_a_rule_over_a_minute_follows_the_mean_and_not_a_spike(tmp_path: Path) -> None:
    asked = station(tmp_path, ('over = "reading"', 'over = "1 min"'))
    rule = asked.rules[0]
    assert (rule.sensor, rule.quantity, rule.above, rule.over_s) == ("turb1", "turbidity", 50, 60)
    alarms = AlarmFold(watch(asked))
    every_ms = round(next(s.every_s for s in asked.sensors if s.id == "turb1") * 1000)
    seq = 0

    def see(ms: int, value: float) -> list[str]:
        nonlocal seq
        seq += 1
        values = {"turbidity": Value(value, value, "NTU", 1)}
        given = alarms.step(Record(seq, Reading("turb1", "y511", "water", at(ms), values)))
        return [b.detail["to"] for b in given if isinstance(b, Event) and b.what == "alarm"]

    calm = 120_000 // every_ms
    for i in range(calm):
        assert see(i * every_ms, 500.0 if i == calm // 2 else 5.0) == []
    raised_ms = 0
    for i in range(calm, 2 * calm):
        if see(i * every_ms, 80.0):
            raised_ms = (i - calm) * every_ms
            break
    # 5 + 75 x = 50: the mean crosses when 60 % of the minute is high
    assert raised_ms == pytest.approx(36_000, abs=3 * every_ms + 1000)
